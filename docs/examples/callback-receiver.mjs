// A receiver of callbacks: it verifies the signature before it reads the body. SECRET is the tenant's callback secret.
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'

if (!process.env.SECRET) {
  console.error('SECRET is missing: set it to the callback secret, SECRET=$(cat .data/callback-secret)')
  process.exit(1)
}
const webhook = new Webhook(process.env.SECRET)
const port = Number(process.env.CALLBACK_PORT ?? 9001)

createServer(async (request, response) => {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  try {
    webhook.verify(body, request.headers)
    console.log(request.headers['webhook-id'], body)
    response.end()
  } catch {
    response.writeHead(401).end()
  }
})
  .on('error', ({ code }) => {
    console.error(`cannot listen on port ${port} (${code}): set CALLBACK_PORT to a free port`)
    process.exitCode = 1
  })
  .listen(port, '127.0.0.1')
