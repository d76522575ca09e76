# Shorthands for the examples of these pages; read them into a shell with `. docs/examples/shorthands.sh`.

# Sends a request to the API of this machine: api PATH [curl's options]. With -d it is a POST.
api() {
  local path=$1
  shift
  curl -s -w '\n' -H "X-API-Key: ${API_KEY:-$(cat "${DATA_DIR:-.data}/bootstrap-api-key")}" -H 'Content-Type: application/json' \
    "http://127.0.0.1:${API_PORT:-8000}/api/v1$path" "$@"
}

# Prints one value of the JSON on standard input; the argument is JavaScript. Without such a value, as in the answer of an
# error, it prints the whole answer as an error and fails.
field() {
  node -e "
    const answer = fs.readFileSync(0, 'utf8')
    let value
    try { value = JSON.parse(answer).$1 } catch {}
    if (value !== undefined) console.log(value)
    else { console.error(answer.trim() || 'no answer'); process.exitCode = 1 }"
}

# Prints the JSON on standard input with indentation.
pretty() { node -p 'JSON.stringify(JSON.parse(fs.readFileSync(0)), null, 2)'; }

# Waits until a distribution or a batch has a final state: ended ID.
ended() {
  local path=/distribution/$1/status
  case $1 in batch_*) path="/distribution/batch/$1/status?limit=0" ;; esac
  until [[ $(api "$path" | field status) =~ completed|failed|cancelled ]]; do sleep 0.3; done
}
