// The protocols of the product. A new one is a line here.
import { amqp } from './amqp/index.ts'
import { email } from './email/index.ts'
import { jdbc } from './jdbc/index.ts'
import { rest } from './rest/index.ts'
import { s3 } from './s3/index.ts'
import { sftp } from './sftp/index.ts'

export const builtIn = [rest, amqp, jdbc, s3, sftp, email]
