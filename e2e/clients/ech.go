// Opens TLS to ADDRESS with an encrypted ClientHello, under the visible name PUBLIC and the hidden name INNER: prints what became of it.
package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
)

// configList is an ECHConfigList with one configuration, whose key nobody has.
func configList(public string) []byte {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	contents := []byte{7, 0, 0x20, 0, 32}
	contents = append(contents, key.PublicKey().Bytes()...)
	contents = append(contents, 0, 4, 0, 1, 0, 1, 0, byte(len(public)))
	contents = append(contents, public...)
	contents = append(contents, 0, 0)
	config := binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(contents)))
	config = append(config, contents...)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(config))), config...)
}

func main() {
	address, public, inner := os.Args[1], os.Args[2], os.Args[3]
	connection, err := tls.Dial("tcp", address, &tls.Config{
		ServerName:                     inner,
		MinVersion:                     tls.VersionTLS13,
		EncryptedClientHelloConfigList: configList(public),
	})
	var rejection *tls.ECHRejectionError
	switch {
	case err == nil:
		fmt.Println("accepted", connection.ConnectionState().ECHAccepted)
	case errors.As(err, &rejection):
		fmt.Println("rejected by a server that proved to be", public)
	default:
		fmt.Println("failed:", err)
	}
}
