// What the tests of SFTP share: a configuration, a delivery, and another client to read the files.
import Client from 'ssh2-sftp-client'
import type { Message } from '../../../activities/destinations/destination.ts'
import { type SftpConfig, sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { sftp } from '../../../activities/destinations/sftp/index.ts'
import type { Sshd } from '../../support/receivers/sshd.ts'
import { aMessage, never, surroundings } from './contract.ts'

/** A resolved configuration with the defaults; it logs in by key, which every sshd accepts. */
export function aConfig(sshd: Sshd, given: Record<string, unknown> = {}): SftpConfig {
  const { timeout_seconds = 15, ...rest } = given
  const stated = {
    host: '127.0.0.1',
    port: sshd.port,
    username: sshd.username,
    ...(rest.password === undefined && { private_key: sshd.private_key }),
    host_key: sshd.host_key(),
    path: `${sshd.home}/{delivery_id}.json`,
    ...rest,
  }
  return { ...(sftpConfig.parse(stated) as SftpConfig), timeout_seconds: timeout_seconds as number }
}

/** Each delivery has a tenant of its own unless given, so that none reuses a connection. */
export function send(config: SftpConfig, message: Partial<Message> = {}, signal = never) {
  return sftp.deliver(config, aMessage({ tenant_id: crypto.randomUUID(), ...message }), signal, surroundings)
}

export function probe(config: SftpConfig) {
  return sftp.probe(config, never, surroundings)
}

/** Runs `work` with a client that is logged in at the server. */
export async function asClient<T>(sshd: Sshd, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client()
  await client.connect({ host: '127.0.0.1', port: sshd.port, username: sshd.username, privateKey: sshd.private_key })
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** The names in a folder, hidden ones too, in order. */
export function namesIn(sshd: Sshd, folder: string): Promise<string[]> {
  return asClient(sshd, async (client) => (await client.list(folder)).map(({ name }) => name).toSorted())
}

export async function contentOf(sshd: Sshd, path: string): Promise<Buffer> {
  return (await asClient(sshd, (client) => client.get(path))) as Buffer
}
