"""Checks signatures of requests as AWS does, by its documentation alone.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html

The first line of the input is JSON: {"keys": {ID: {"secret": TEXT, "token": TEXT or null}}}. Every further line is a request:
{"method", "target", "headers": [[name, value], ...], "body": BASE64, "nowS"}, its texts Latin-1. Each gets a line of its own:
{"ok": true, "id", "region", "service", "payload", "content": BASE64} or {"ok": false, "reason"}. A reason names no secret.
"""

import base64
import datetime
import hashlib
import hmac
import json
import sys
import zlib

UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
ALGORITHM = "AWS4-HMAC-SHA256"
S3_SERVICES = ("s3", "s3-object-lambda", "s3-outposts")
MAX_SKEW_S = 300


class Bad(Exception):
    """Why a request is not accepted."""


def encode(octets):
    return "".join(chr(o) if o in UNRESERVED else "%%%02X" % o for o in octets)


def decode(text):
    octets = bytearray()
    at = 0
    raw = text.encode("latin-1")
    while at < len(raw):
        if raw[at] == 0x25:
            digits = raw[at + 1 : at + 3]
            if len(digits) != 2:
                raise Bad("a broken escape")
            octets.append(int(digits, 16))
            at += 3
        else:
            octets.append(raw[at])
            at += 1
    return bytes(octets)


def remove_dot_segments(path):
    """Empty segments go as well."""
    kept = []
    for segment in path.split("/"):
        if segment in ("", "."):
            continue
        if segment == "..":
            if kept:
                kept.pop()
        else:
            kept.append(segment)
    slash = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + slash


def canonical_uris(path, service):
    """What a service that keeps the path as it came computes, and what one that decodes it first does."""
    again = "/".join(encode(decode(segment)) for segment in path.split("/"))
    if service in S3_SERVICES:
        return [path, again]
    return ["/".join(encode(s.encode("latin-1")) for s in remove_dot_segments(p).split("/")) for p in (path, again)]


def parse_query(query):
    pairs = []
    for part in query.split("&") if query else []:
        if part:
            name, _, value = part.partition("=")
            if "+" in part:
                raise Bad("a plus sign in the query")
            pairs.append((decode(name), decode(value)))
    return pairs


def canonical_query(pairs):
    return "&".join("%s=%s" % pair for pair in sorted((encode(name), encode(value)) for name, value in pairs))




def parse_time(text):
    when = datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ")
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def mac(key, text):
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).digest()


def signature(secret, date, region, service, string_to_sign):
    key = mac(("AWS4" + secret).encode(), date)
    for part in (region, service, "aws4_request"):
        key = mac(key, part)
    return hmac.new(key, string_to_sign.encode("utf-8"), hashlib.sha256).hexdigest()


def chunked_content(body, headers):
    """The content of an `aws-chunked` body without signatures; its length and the checksum in its trailer have to fit."""
    content = b""
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        line = body[at:end]
        if b";" in line:
            raise Bad("a chunk with an extension")
        size = int(line, 16)
        at = end + 2
        if size == 0:
            break
        content += body[at : at + size]
        if body[at + size : at + size + 2] != b"\r\n":
            raise Bad("a chunk of another length than it says")
        at += size + 2
    trailers = {}
    for line in body[at:].split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            trailers[name.decode().lower()] = value.decode().strip()
    if headers.get("x-amz-decoded-content-length") != str(len(content)):
        raise Bad("another length than x-amz-decoded-content-length")
    announced = headers.get("x-amz-trailer", "").lower()
    if announced and set(announced.split(",")) != set(trailers):
        raise Bad("other trailers than x-amz-trailer says")
    crc32 = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
    if trailers.get("x-amz-checksum-crc32", crc32) != crc32:
        raise Bad("a checksum that does not fit")
    return content


def read_header_signature(authorization, headers):
    if not authorization.startswith(ALGORITHM + " "):
        raise Bad("another algorithm")
    parts = {}
    for part in authorization[len(ALGORITHM) + 1 :].split(","):
        name, _, value = part.strip().partition("=")
        parts[name] = value
    return parts["Credential"], parts["SignedHeaders"], parts["Signature"], headers["x-amz-date"], None, headers.get("x-amz-security-token")


def read_query_signature(pairs):
    values = {}
    for name, value in pairs:
        text = name.decode()
        if text.startswith("X-Amz-"):
            if text in values:
                raise Bad(text + " twice")
            values[text] = value.decode()
    if values["X-Amz-Algorithm"] != ALGORITHM:
        raise Bad("another algorithm")
    return (
        values["X-Amz-Credential"],
        values["X-Amz-SignedHeaders"],
        values["X-Amz-Signature"],
        values["X-Amz-Date"],
        int(values["X-Amz-Expires"]),
        values.get("X-Amz-Security-Token"),
    )


def verify(request, keys):
    body = base64.b64decode(request["body"])
    lines = {}
    for name, value in request["headers"]:
        lines.setdefault(name.lower(), []).append(" ".join(value.split()))
    for name in ("authorization", "host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "content-type"):
        if len(lines.get(name, [])) > 1:
            raise Bad(name + " twice")
    headers = {name: ",".join(values) for name, values in lines.items()}
    path, _, query = request["target"].partition("?")
    pairs = parse_query(query)
    is_query = any(name == b"X-Amz-Signature" for name, _ in pairs)
    if is_query and "authorization" in headers:
        raise Bad("signed twice")
    if is_query:
        found = read_query_signature(pairs)
    elif "authorization" in headers:
        found = read_header_signature(headers["authorization"], headers)
    else:
        raise Bad("not signed")
    credential, signed_names, given, time, expires, token = found
    access_key_id, date, region, service, end = credential.split("/")
    if end != "aws4_request" or date != time[:8]:
        raise Bad("a scope that does not fit")
    age = request["nowS"] - parse_time(time)
    if age < -MAX_SKEW_S or age > (MAX_SKEW_S if expires is None else expires):
        raise Bad("a time too far away")
    key = keys.get(access_key_id)
    if key is None:
        raise Bad("an unknown access key")
    if key["token"] != token:
        raise Bad("another session token")

    names = signed_names.split(";")
    # Over HTTP/2 some clients of AWS's sign what they send.
    if names != sorted(names) or not ("host" in names or ":authority" in names):
        raise Bad("SignedHeaders without host, or out of order")
    hoisted = ["x-amz-content-sha256"] if is_query else []
    for name in headers:
        if (name.startswith("x-amz-") or (name == "content-type" and not is_query)) and name not in names and name not in hoisted:
            raise Bad("unsigned " + name)
    missing = [name for name in names if name not in headers]
    if missing:
        raise Bad("signed but not sent: " + ",".join(missing))

    is_s3 = service in S3_SERVICES
    content = body
    payload = headers.get("x-amz-content-sha256")
    if is_query:
        in_query = [value.decode() for name, value in pairs if name.lower() == b"x-amz-content-sha256"]
        payload = in_query[0] if in_query else ("UNSIGNED-PAYLOAD" if is_s3 else hashlib.sha256(body).hexdigest())
    if payload is None:
        if is_s3:
            raise Bad("no x-amz-content-sha256")
        payload = hashlib.sha256(body).hexdigest()
    if payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER" and is_s3:
        content = chunked_content(body, headers)
    elif payload == "UNSIGNED-PAYLOAD":
        pass
    elif payload != hashlib.sha256(body).hexdigest():
        raise Bad("another body than was signed")

    uris = canonical_uris(path, service)
    if "%2E" not in path.upper() and uris[0] != uris[1]:
        raise Bad("a path that can be read in two ways")
    canonical = "\n".join(
        [
            request["method"],
            uris[0],
            canonical_query([pair for pair in pairs if pair[0] != b"X-Amz-Signature"]),
            "".join("%s:%s\n" % (name, headers[name]) for name in names),
            signed_names,
            payload,
        ]
    )
    string_to_sign = "\n".join(
        [ALGORITHM, time, "/".join([date, region, service, end]), hashlib.sha256(canonical.encode("utf-8")).hexdigest()]
    )
    wanted = signature(key["secret"], date, region, service, string_to_sign)
    if not hmac.compare_digest(wanted, given):
        raise Bad("the signature does not match")
    return {
        "ok": True,
        "id": access_key_id,
        "region": region,
        "service": service,
        "payload": payload,
        "content": base64.b64encode(content).decode(),
    }


def main():
    keys = json.loads(sys.stdin.readline())["keys"]
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = verify(request, keys)
        except Bad as bad:
            answer = {"ok": False, "reason": str(bad)}
        except (KeyError, ValueError) as error:
            answer = {"ok": False, "reason": "malformed: %r" % error}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
