// The second half of the demo: one report to six kinds of systems, registered with their secrets beforehand, and read back
// from the systems themselves.

import type { Life } from '../../temporal-config/process/program.ts'
import { type Held, PLACE_PROTOCOLS, type Place, startPlace } from '../support/receivers/places.ts'
import type { Client, DistributionState } from './client.ts'
import { PAYLOAD, ROWS } from './example.ts'
import type { Receiver } from './receivers.ts'
import { table } from './show.ts'

export interface Six {
  /** Names of registered destinations. */
  destinations: string[]
  /** What could not be started, each with the reason. */
  missing: string[]
  /** A table, and whether all six hold what they should. */
  show(final: DistributionState): Promise<{ table: string; complete: boolean }>
}

/** Starts the servers that can be had here, and registers a destination and a credential for each. */
export async function prepareSix(
  client: Client,
  rest: Receiver,
  life: Life,
  say: (line: string) => void,
): Promise<Six> {
  const started = await Promise.allSettled(
    PLACE_PROTOCOLS.map(async (protocol) => {
      const place = await startPlace(protocol, say)
      life.atEnd('the receivers', () => place.close())
      say(`${protocol.padEnd(5)} ${place.where}`)
      return place
    }),
  )
  const places = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  const missing = started.flatMap((each, index) =>
    each.status === 'rejected' ? [`${PLACE_PROTOCOLS[index]}: ${(each.reason as Error).message}`] : [],
  )
  await client.register('demo-rest', 'REST', { endpoint: rest.url })
  for (const place of places) {
    const name = nameOf(place)
    await client.keepSecret(name, place.credential)
    await client.register(name, place.protocol, { ...place.configuration(), credentials: name })
  }
  return {
    destinations: ['demo-rest', ...places.map(nameOf)],
    missing,
    async show(final) {
      const rows = [
        restRow(rest, final),
        ...(await Promise.all(places.map(async (place) => placeRow(place, await place.held(), final)))),
      ]
      const complete = missing.length === 0 && rows.every((row) => row[2] === 'success' && row[4] === 'as submitted')
      return { table: table([['destination', 'protocol', 'status', 'holds', 'content'], ...rows]), complete }
    },
  }
}

function nameOf({ protocol }: Place): string {
  return `demo-${protocol.toLowerCase()}`
}

function statusOf(final: DistributionState, name: string): string {
  return final.destinations.find((destination) => destination.name === name)?.status ?? 'unknown'
}

function restRow(receiver: Receiver, final: DistributionState): string[] {
  const [first] = receiver.arrivals
  const content = first?.body.toString('utf8')
  const holds = `${receiver.arrivals.length} request to ${receiver.url}`
  return ['demo-rest', 'REST', statusOf(final, 'demo-rest'), holds, judged(content, PAYLOAD)]
}

/** Of an earlier demo nothing is left: the places are new. */
function placeRow(place: Place, held: Held[], final: DistributionState): string[] {
  const name = nameOf(place)
  const [first, ...more] = held
  const holds = first ? `${first.what}${more.length > 0 ? `, and ${more.length} more` : ''}` : 'nothing'
  const expected = place.protocol === 'JDBC' ? ROWS : PAYLOAD
  return [
    name,
    place.protocol,
    statusOf(final, name),
    holds,
    more.length > 0 ? 'DOUBLED' : judged(first?.content, expected),
  ]
}

function judged(content: string | undefined, expected: string): string {
  if (content === undefined) return 'nothing came'
  return content === expected ? 'as submitted' : 'DIFFERENT'
}
