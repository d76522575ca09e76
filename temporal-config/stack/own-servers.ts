// The servers that belong to this service, for the guard of outgoing connections: from the settings, from what runs in
// DATA_DIR, and from the ports that this process listens on.
import { resolve } from 'node:path'
import type { OwnServer } from '../../activities/destinations/network/own-servers.ts'
import { serverOf } from '../../db/pool.ts'
import type { Settings } from '../process/settings.ts'
import { type StackAddresses, watchAddresses } from './lock.ts'

export interface KnownServers {
  list(): readonly OwnServer[]
  /** A port that this process listens on, as a URL. */
  add(url: string): void
}

export function knownServers(settings: Settings, databaseUrl: string): KnownServers {
  const fixed: OwnServer[] = [
    ...[databaseUrl, settings.DATABASE_URL, settings.DATABASE_ADMIN_URL].flatMap((url) => (url ? [serverOf(url)] : [])),
    ...(settings.TEMPORAL_ADDRESS ? [placeOfAddress(settings.TEMPORAL_ADDRESS)] : []),
    { host: settings.API_HOST, port: settings.API_PORT },
    { host: settings.WORKER_HOST, port: settings.WORKER_PORT },
    ...(settings.METRICS_PORT ? [{ host: settings.WORKER_HOST, port: settings.METRICS_PORT }] : []),
  ]
  const embedded = watchAddresses(resolve(settings.DATA_DIR))
  return {
    list: () => [...fixed, ...embeddedServers(embedded())],
    add(url) {
      const { hostname, port, protocol } = new URL(url)
      fixed.push({ host: hostname, port: Number(port) || (protocol === 'https:' ? 443 : 80) })
    },
  }
}

function embeddedServers(addresses: StackAddresses | undefined): OwnServer[] {
  const { postgres, temporal } = addresses ?? {}
  const ports = [
    ...(postgres ? [postgres.port] : []),
    ...(temporal ? [placeOfAddress(temporal.address).port, ...(temporal.ports ?? [])] : []),
    ...(temporal?.ui_url ? [Number(new URL(temporal.ui_url).port)] : []),
  ]
  return ports.map((port) => ({ host: 'localhost', port }))
}

function placeOfAddress(address: string): OwnServer {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) }
}
