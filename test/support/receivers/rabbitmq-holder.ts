// A program for tests: holds a RabbitMQ until it is killed.
import { startRabbitmq } from './rabbitmq.ts'

const rabbitmq = await startRabbitmq({ user: 'holder', password: 'held' })
// Starting inside the server what Erlang starts on demand, such as the programs that look up names.
await rabbitmq.evaluate('inet:gethostbyname("localhost")')
console.log(`holds ${rabbitmq.pid()}`)
setInterval(() => {}, 1_000)
