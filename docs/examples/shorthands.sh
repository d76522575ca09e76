# Shorthands for the examples of these pages; read them into a shell with `. docs/examples/shorthands.sh`.

# Sends a request to the API of this machine: api PATH [curl's options]. With -d it is a POST.
api() {
  local path=$1 key=${API_KEY:-} file=${DATA_DIR:-.data}/bootstrap-api-key port=${API_PORT:-8000}
  shift
  if [[ -z $key ]] && ! key=$(cat "$file" 2>/dev/null); then
    echo "api: there is no API key in $file: run it in the project folder, or set DATA_DIR" >&2
    return 1
  fi
  curl -sS -w '\n' -H "X-API-Key: $key" -H 'Content-Type: application/json' "http://127.0.0.1:$port/api/v1$path" "$@" && return
  echo "api: no answer from http://127.0.0.1:$port: start the service, or set API_PORT to its port" >&2
  return 1
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
pretty() {
  node -e "
    const answer = fs.readFileSync(0, 'utf8')
    try { console.log(JSON.stringify(JSON.parse(answer), null, 2)) }
    catch { console.error(answer.trim() || 'no answer'); process.exitCode = 1 }"
}

# Waits until a distribution or a batch has a final state, for 60 seconds at most: ended ID.
ended() {
  local path=/distribution/${1:-}/status answer status end=$((SECONDS + 60))
  if [[ -z ${1:-} ]]; then
    echo 'ended: the id is empty: the submission before it failed' >&2
    return 1
  fi
  case $1 in batch_*) path="/distribution/batch/$1/status?limit=0" ;; esac
  while answer=$(api "$path") && status=$(field status <<<"$answer"); do
    [[ $status =~ completed|failed|cancelled ]] && return
    if ((SECONDS >= end)); then
      echo "ended: $1 is still $status after 60 seconds" >&2
      return 1
    fi
    sleep 0.3
  done
  return 1
}
