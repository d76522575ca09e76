#!/bin/sh
# Makes the certificates beside it anew (openssl 3). They are for tests on this machine's loopback alone, valid for a
# hundred years, and kept in the repository so that tests need no openssl.
set -eu
cd "$(dirname "$0")"
days=36500
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days $days -keyout ca.key -out ca.pem \
  -subj '/CN=Distributor test authority' -addext 'keyUsage=critical,keyCertSign,cRLSign'
leaf() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
  printf 'subjectAltName=%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days $days -extfile "$1.ext" -out "$1.pem"
  rm "$1.csr" "$1.ext"
}
leaf server 'DNS:localhost,DNS:receiver.example,IP:127.0.0.1,IP:::1'
leaf client 'DNS:client.example'
openssl ec -in client.key -aes256 -passout pass:open-sesame -out client-encrypted.key
rm -f ca.srl ca.key
