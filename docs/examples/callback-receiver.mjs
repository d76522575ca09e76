// A receiver of callbacks: it verifies the signature before it reads the body. SECRET is the tenant's callback secret.
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'

const webhook = new Webhook(process.env.SECRET)

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
}).listen(Number(process.env.CALLBACK_PORT ?? 9001), '127.0.0.1')
