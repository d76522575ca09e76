import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { sftp } from '../../../activities/destinations/sftp/index.ts'
import { makeKeyPair } from '../../support/receivers/ssh-keys.ts'
import { hasAccounts, startSshd } from '../../support/receivers/sshd.ts'
import { type At, contract, type Place, SECRET, type Server, WRONG } from './contract.ts'

await contract({ destination: sftp, repeat: 'one effect', programs: ['sshd'], notSecret: ['host_key'], start })

async function start(): Promise<Server> {
  const sshd = await startSshd({ say: console.error, ...(hasAccounts() && { password: SECRET }) })
  const logins = hasAccounts() ? passwords() : keys(sshd.authorize)
  return { port: sshd.port, restart: sshd.restart, close: sshd.close, place }

  async function place(): Promise<Place> {
    const folder = mkdtempSync(join(sshd.home, 'box-'))
    const forbidden = join(folder, 'forbidden')
    const { uid, gid } = statSync(sshd.home)
    const config = (login: Record<string, string>, directory: string) => (at: At) => {
      const { timeout_seconds, ...rest } = at
      const stated = {
        ...rest,
        ...login,
        username: sshd.username,
        host_key: sshd.host_key(),
        path: `${directory}/{delivery_id}.json`,
      }
      return { ...sftpConfig.parse(stated), timeout_seconds }
    }
    chownSync(folder, uid, gid)
    mkdirSync(forbidden)
    chownSync(forbidden, uid, gid)
    chmodSync(forbidden, 0o555)
    return {
      config: config(logins.right, folder),
      locked: config(logins.wrong, folder),
      refused: config(logins.right, forbidden),
      // Temporary files too: none may be left behind.
      arrived: async () =>
        [folder, forbidden]
          .flatMap((each) => readdirSync(each, { withFileTypes: true }))
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name))
          .toSorted((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
          .map((file) => ({ body: readFileSync(file), delivery_id: file.replace(/^.*\/|\.json$/g, '') })),
    }
  }
}

function passwords() {
  return { right: { password: SECRET }, wrong: { password: WRONG } }
}

/** Where the server has no passwords, the secret is what opens the key. */
function keys(authorize: (key: string) => void) {
  const [right, wrong] = [SECRET, WRONG].map((passphrase) => ({ ...makeKeyPair({ passphrase }), passphrase }))
  authorize(right!.public_key)
  const login = ({ private_key, passphrase }: typeof right & object) => ({ private_key, passphrase })
  return { right: login(right!), wrong: login(wrong!) }
}
