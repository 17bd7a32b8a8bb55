// grpc-go: the calls that every gRPC client of the table makes, with messages of plain bytes.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const maxMessageBytes = 64 << 20

type plainBytes struct{}

func (plainBytes) Marshal(value any) ([]byte, error) { return *value.(*[]byte), nil }
func (plainBytes) Unmarshal(data []byte, value any) error {
	*value.(*[]byte) = bytes.Clone(data)
	return nil
}
func (plainBytes) Name() string { return "bytes" }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	connection, err := grpc.NewClient(os.Args[1],
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plainBytes{}),
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)))
	check(err)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("API_TOKEN"))

	var trailer metadata.MD
	request, reply := []byte("hello"), []byte{}
	check(connection.Invoke(ctx, "/echo.Echo/Unary", &request, &reply, grpc.Trailer(&trailer)))
	fmt.Printf("unary=%s\n", reply)
	fmt.Printf("trailer=%s\n", trailer.Get("x-reflected")[0])

	open := func(ctx context.Context, method string) grpc.ClientStream {
		stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/echo.Echo/"+method)
		check(err)
		return stream
	}
	send := func(stream grpc.ClientStream, text string) {
		message := []byte(text)
		check(stream.SendMsg(&message))
	}
	receiveAll := func(stream grpc.ClientStream) string {
		pieces := []string{}
		for {
			var message []byte
			err := stream.RecvMsg(&message)
			if err == io.EOF {
				return strings.Join(pieces, ",")
			}
			check(err)
			pieces = append(pieces, string(message))
		}
	}

	stream := open(ctx, "ServerStream")
	send(stream, "go")
	check(stream.CloseSend())
	fmt.Printf("server=%s\n", receiveAll(stream))

	stream = open(ctx, "ClientStream")
	for _, text := range []string{"a", "b", "c"} {
		send(stream, text)
	}
	check(stream.CloseSend())
	fmt.Printf("client=%s\n", receiveAll(stream))

	stream = open(ctx, "Bidi")
	echoed := []string{}
	for _, text := range []string{"a", "b", "c"} {
		send(stream, text)
		var message []byte
		check(stream.RecvMsg(&message))
		echoed = append(echoed, string(message))
	}
	check(stream.CloseSend())
	receiveAll(stream)
	fmt.Printf("bidi=%s\n", strings.Join(echoed, ","))

	big, answer := bytes.Repeat([]byte("m"), 50<<20), []byte{}
	check(connection.Invoke(ctx, "/echo.Echo/Unary", &big, &answer))
	fmt.Printf("big=%d\n", len(answer))

	err = connection.Invoke(ctx, "/echo.Echo/Leak", &request, &reply)
	fmt.Printf("leak=%d\n", status.Code(err))

	soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	err = connection.Invoke(soon, "/echo.Echo/Never", &request, &reply)
	fmt.Printf("deadline=%d\n", status.Code(err))

	cancelled, cancelNow := context.WithCancel(ctx)
	stream = open(cancelled, "Hold")
	send(stream, "a")
	var message []byte
	check(stream.RecvMsg(&message))
	cancelNow()
	err = stream.RecvMsg(&message)
	fmt.Printf("cancel=%d\n", status.Code(err))
	// The reset is to leave before the process does.
	time.Sleep(300 * time.Millisecond)
}
