// A receiver for the examples: it prints every request. /partner wants the right token, /reporter rejects everything,
// and /warehouse is out of order.
import { createServer } from 'node:http'

const port = Number(process.env.RECEIVER_PORT ?? 9000)

createServer(async (request, response) => {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  const unauthorized = request.url === '/partner' && request.headers.authorization !== 'Bearer right'
  const status = unauthorized ? 401 : ({ '/reporter': 422, '/warehouse': 503 }[request.url] ?? 200)
  console.log(status, request.method, request.url, request.headers['idempotency-key'] ?? '', body)
  response.writeHead(status).end('thank you')
})
  .on('error', ({ code }) => {
    console.error(`cannot listen on port ${port} (${code}): set RECEIVER_PORT to a free port`)
    process.exitCode = 1
  })
  .listen(port, '127.0.0.1')
