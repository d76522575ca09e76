// Whether a Temporal server answers, asked over plain HTTP/2: the supervisor stays small without Temporal's client.
import { connect } from 'node:http2'

/** True when the server at `address` knows `namespace`. */
export function temporalAnswers(address: string, namespace: string, timeoutMs = 2000): Promise<boolean> {
  return new Promise((resolve) => {
    const session = connect(`http://${address}`)
    const done = (answer: boolean) => {
      clearTimeout(timer)
      session.destroy()
      resolve(answer)
    }
    const timer = setTimeout(() => done(false), timeoutMs)
    session.once('error', () => done(false))
    const request = session.request({
      ':method': 'POST',
      ':path': '/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    request.once('error', () => done(false))
    // A refusal comes with the headers, success with the trailers after the body.
    request.once('response', (headers) => headers['grpc-status'] && done(headers['grpc-status'] === '0'))
    request.once('trailers', (trailers) => done(trailers['grpc-status'] === '0'))
    request.resume()
    request.end(frame(namespaceRequest(namespace)))
  })
}

/** Field 1, a string, in protocol buffers' encoding. */
function namespaceRequest(namespace: string): Buffer {
  const text = Buffer.from(namespace)
  return Buffer.concat([Buffer.from([0x0a, text.length]), text])
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}
