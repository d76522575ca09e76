// OpenSSH's server: one account that may only use SFTP, in a folder of its own. As root it runs in name spaces of its
// own (mounts and processes), with its own list of users, so that the account can have a password, a small disk can be
// mounted, and nothing of the machine changes. Elsewhere it runs as the present user, or
// as another where root may make no name spaces, who logs in by key alone.
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { serverEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { endProcess, identify, type ProcessId } from '../../../temporal-config/stack/processes.ts'
import { databaseUser, type SystemUser } from '../../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../folders.ts'
import { obtainProgram } from './programs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

/** A user that exists only in the name space. */
const ACCOUNT = { name: 'depot', uid: 47_011 }
/** OpenSSH's own, for the part of it that has no rights. */
const PRIVILEGE_SEPARATION = { name: 'sshd', uid: 47_012 }
const SMALL_DISK = 'small'

export interface SshdOptions {
  say: (line: string) => void
  /** Of the account; needs `hasAccounts()`. */
  password?: string
  /** Size of the file system that is mounted at `small_disk`, in bytes; needs `hasAccounts()`. */
  small_disk_bytes?: number
  /** Further lines of sshd_config, before ours: sshd takes the first of a kind. */
  settings?: string[]
}

export interface Sshd extends Receiver {
  username: string
  /** Fingerprint of its host key, as `ssh-keygen -l` prints it. */
  host_key(): string
  /** An Ed25519 key without passphrase that may log in, in OpenSSH's format. */
  private_key: string
  /** Lets the owner of this public key (a line of authorized_keys) log in. */
  authorize(public_key: string): void
  /** Gives it another host key; it shows it from the next connection on. */
  changeHostKey(): Promise<void>
  /** The account's folder, by the same path here and there. */
  home: string
  /** A path at the server alone: a file system that is soon full. */
  small_disk: string
}

/** Whether an sshd can have accounts of its own here: root, and Linux that lets it make name spaces. */
export function hasAccounts(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  return spawnSync('unshare', ['--mount', '--pid', '--fork', 'true'], { stdio: 'ignore' }).status === 0
}

export async function startSshd({ say, password, small_disk_bytes, settings = [] }: SshdOptions): Promise<Sshd> {
  const program = await obtainProgram('sshd', say)
  const folder = temporaryFolder('sshd')
  const file = (name: string) => join(folder, name)
  const isolated = hasAccounts()
  // Without name spaces root is of no use to it: it would insist on folders of the machine's own.
  const user = isolated ? undefined : databaseUser()
  const username = isolated ? ACCOUNT.name : nameOf(user)
  const port = await freePort(0)
  // The account passes through, and sees no more than its own.
  chmodSync(folder, 0o711)
  const home = file('home')
  mkdirSync(home)
  makeKey(file('host_key'))
  makeKey(file('login_key'))
  const authorize = (key: string) => appendFileSync(file('authorized_keys'), `${key.trim()}\n`)
  authorize(readFileSync(file('login_key.pub'), 'utf8'))
  chmodSync(file('authorized_keys'), 0o644)
  writeFileSync(
    file('sshd_config'),
    [
      ...settings,
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${file('host_key')}`,
      `AuthorizedKeysFile ${file('authorized_keys')}`,
      // The folder lies below /tmp, where everybody writes.
      'StrictModes no',
      'UsePAM no',
      'PidFile none',
      `PasswordAuthentication ${password === undefined ? 'no' : 'yes'}`,
      // Tests open many connections at the same time.
      'MaxStartups 200',
      'Subsystem sftp internal-sftp',
      'ForceCommand internal-sftp',
      '',
    ].join('\n'),
  )
  const sshd = [program, '-D', '-e', '-f', file('sshd_config')]
  if (isolated) prepareAccounts(folder, home, password, small_disk_bytes)
  if (user) for (const each of [home, file('host_key')]) chownSync(each, user.uid, user.gid)
  const command = isolated
    ? ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '/bin/sh', file('start.sh')]
    : []
  const receiver = await startReceiver({
    name: 'sshd',
    folder,
    port,
    // In a name space of processes it is the first one: with it, every session ends.
    command: {
      program: [...command, ...sshd][0]!,
      args: [...command, ...sshd].slice(1),
      env: {},
      stop_signals: [],
      ...(user && { user }),
    },
    answers: () => greets(port),
  })
  /** Sessions outlive the server that began them, and its port is free only when it has really ended. */
  const endAll = async () => {
    for (const each of descendants(receiver.pid())) await endProcess(each, [], 5_000)
  }
  const restart = async () => {
    await endAll()
    await receiver.restart()
  }
  return {
    ...receiver,
    pid: () => (isolated ? descendants(receiver.pid())[0]?.pid : undefined) ?? receiver.pid(),
    restart,
    async close() {
      await endAll()
      await receiver.close()
    },
    username,
    home,
    small_disk: join(home, SMALL_DISK),
    private_key: readFileSync(file('login_key'), 'utf8'),
    authorize,
    host_key: () => fingerprint(file('host_key.pub')),
    async changeHostKey() {
      rmSync(file('host_key'))
      makeKey(file('host_key'))
      if (user) chownSync(file('host_key'), user.uid, user.gid)
      await restart()
    },
  }
}

/** What is mounted over the machine's own files, and the script that does it inside of the name space. */
function prepareAccounts(folder: string, home: string, password: string | undefined, diskBytes: number | undefined) {
  const { name, uid } = ACCOUNT
  const { name: other, uid: otherId } = PRIVILEGE_SEPARATION
  const file = (each: string) => join(folder, each)
  chownSync(home, uid, uid)
  const users = [
    'root:x:0:0:root:/root:/bin/sh',
    `${other}:x:${otherId}:${otherId}::/run/sshd:/bin/false`,
    `${name}:x:${uid}:${uid}::${home}:/bin/sh`,
  ]
  const hash = password === undefined ? '*' : crypt(password)
  writeFileSync(file('passwd'), `${users.join('\n')}\n`)
  writeFileSync(file('group'), `root:x:0:\n${other}:x:${otherId}:\n${name}:x:${uid}:\n`)
  writeFileSync(
    file('shadow'),
    `root:*:19000:0:99999:7:::\n${other}:*:19000:0:99999:7:::\n${name}:${hash}:19000::::::\n`,
    {
      mode: 0o600,
    },
  )
  const disk = join(home, SMALL_DISK)
  if (diskBytes !== undefined) mkdirSync(disk)
  writeFileSync(
    file('start.sh'),
    [
      'set -e',
      ...['passwd', 'group', 'shadow'].map((each) => `mount --bind '${file(each)}' /etc/${each}`),
      // sshd insists on /run/sshd, which a machine that runs none may lack.
      'mount -t tmpfs tmpfs /run',
      'mkdir -m 755 /run/sshd',
      ...(diskBytes === undefined
        ? []
        : [`mount -t tmpfs -o size=${diskBytes},uid=${uid},gid=${uid},mode=755 tmpfs '${disk}'`]),
      'exec "$@"',
      '',
    ].join('\n'),
  )
}

/** As /etc/shadow has it (SHA-512). Node has no crypt(3); every Debian has Perl. The password is on no command line. */
function crypt(password: string): string {
  const script = 'my $p = do { local $/; <STDIN> }; print crypt($p, q($6$depotdepot$))'
  return execFileSync('perl', ['-e', script], { input: password, encoding: 'utf8', env: serverEnvironment() })
}

function nameOf(user: SystemUser | undefined): string {
  return user ? execFileSync('id', ['-un', String(user.uid)], { encoding: 'utf8' }).trim() : userInfo().username
}

function makeKey(path: string): void {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path], { stdio: 'pipe' })
}

function fingerprint(path: string): string {
  return execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' }).split(' ')[1]!
}

/** All processes below this one, parents first; none where there is no /proc. */
function descendants(pid: number): ProcessId[] {
  let children: number[] = []
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    // It has ended, or this is no Linux.
  }
  return children.flatMap((child) => {
    const id = identify(child)
    return id ? [id, ...descendants(child)] : []
  })
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const answer = (greeted: boolean) => {
      socket.destroy()
      resolve(greeted)
    }
    socket.once('data', (bytes) => answer(bytes.toString('latin1').startsWith('SSH-')))
    socket.once('error', () => answer(false))
    socket.once('close', () => answer(false))
  })
}
