// An SFTP server that is not OpenSSH's: it knows no extensions, keeps its files in memory, and can be made to misbehave
// in ways that no good server does. Only for behaviour that a real server never shows; never for the contract.
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import ssh2, { type AuthContext, type SFTPWrapper } from 'ssh2'

const { STATUS_CODE, OPEN_MODE } = ssh2.utils.sftp

export interface StrangeSftpOptions {
  /** Decides about each try to log in; everybody may when left out. */
  authenticate?: (context: AuthContext) => void
  /** What is kept of the bytes that it says it has written. */
  keep?: (data: Buffer) => Buffer
  /** Answers a write when called; at once when left out. */
  onWrite?: (answer: () => void) => void
  /** Does a rename, and answers it, when called; at once when left out. */
  onRename?: (rename: () => void) => void
  /** Runs when a rename has been answered. */
  afterRename?: (socket: Socket, to: string) => void
  /**
   * Asked for each request, by its name in the protocol: a status is answered in its place, and nothing done. `drop` ends
   * the connection before it is done, `drop after` when it is done and not answered.
   */
  answer?: (request: string, path: string, to?: string) => number | 'drop' | 'drop after' | undefined
  /** After the login it reads nothing more, and sends requests that want an answer for as long as it can. */
  floods?: boolean
  /** The only compression that it offers. */
  compression?: 'zlib' | 'zlib@openssh.com'
  /** A rename takes the place of a file of that name, against the specification. */
  renameReplaces?: boolean
}

/** One for all: making it costs a quarter of a second. */
let hostKey: string | Buffer | undefined

export interface StrangeSftp {
  port: number
  files: Map<string, Buffer>
  close(): Promise<void>
}

export async function startStrangeSftp(options: StrangeSftpOptions = {}): Promise<StrangeSftp> {
  const files = new Map<string, Buffer>()
  const sockets = new Set<Socket>()
  hostKey ??= generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' })
  const algorithms = options.compression && { algorithms: { compress: [options.compression] } }
  const ssh = new ssh2.Server({ hostKeys: [hostKey], ...algorithms }, (client) => {
    client.on('error', () => {})
    if (options.floods) client.on('ready', () => flood(client, lastSocket()))
    client.on('authentication', options.authenticate ?? ((context) => context.accept()))
    client.on('session', (accept) => {
      accept().on('sftp', (acceptSftp) => serve(acceptSftp(), lastSocket()))
    })
  })
  const server = createServer((socket) => {
    sockets.add(socket)
    // Else an answer may still be held back when the connection is reset.
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    ssh.injectSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const lastSocket = () => [...sockets].at(-1)!
  /** The names of what is open, by handle. */
  const handles = new Map<string, string>()

  function serve(sftp: SFTPWrapper, socket: Socket): void {
    const path = (handle: Buffer) => handles.get(handle.toString('latin1'))!
    /** Set while a request is carried out whose answer is never sent. */
    let silent = false
    const ok = (id: number) => {
      if (!silent) sftp.status(id, STATUS_CODE.OK)
    }
    const failure = (id: number) => sftp.status(id, STATUS_CODE.FAILURE)
    const look = (id: number, name: string) => {
      const file = files.get(name)
      if (name !== '.' && file === undefined) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE)
      sftp.attrs(id, { mode: file ? 0o100644 : 0o40755, uid: 0, gid: 0, size: file?.length ?? 0, atime: 0, mtime: 0 })
    }
    /** Serves a request, unless the test answers it. */
    const on = <Args extends unknown[]>(
      request: string,
      serveIt: (id: number, ...args: Args) => void,
      pathsOf: (...args: Args) => [string, string?] = (...args) => args.map(String) as [string, string?],
    ) => {
      sftp.on(
        request as 'OPEN',
        ((id: number, ...args: Args) => {
          if (socket.destroyed) return
          const verdict = options.answer?.(request, ...pathsOf(...args))
          if (typeof verdict === 'number') return anyStatus(sftp, id, verdict)
          silent = verdict === 'drop after'
          if (verdict !== 'drop') serveIt(id, ...args)
          silent = false
          if (verdict !== undefined) socket.destroy()
        }) as never,
      )
    }
    const ofHandle = (handle: Buffer): [string] => [path(handle)]
    sftp.on('error', () => {})
    on('OPEN', (id: number, name: string, flags: number) => {
      if (flags & OPEN_MODE.EXCL && files.has(name)) return failure(id)
      if (flags & OPEN_MODE.TRUNC) files.set(name, Buffer.alloc(0))
      if (!files.has(name)) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE)
      const handle = String(handles.size)
      handles.set(handle, name)
      if (!silent) sftp.handle(id, Buffer.from(handle))
    })
    const write = (id: number, handle: Buffer, offset: number, data: Buffer) => {
      const kept = options.keep?.(data) ?? data
      const before = files.get(path(handle))!
      const after = Buffer.alloc(Math.max(before.length, offset + kept.length))
      before.copy(after)
      kept.copy(after, offset)
      files.set(path(handle), after)
      if (options.onWrite) options.onWrite(() => ok(id))
      else ok(id)
    }
    on('WRITE', write, (handle) => ofHandle(handle))
    sftp.on('READ', (id, handle, offset, length) => {
      const part = files.get(path(handle))!.subarray(offset, offset + length)
      if (part.length === 0) sftp.status(id, STATUS_CODE.EOF)
      else sftp.data(id, part)
    })
    on('CLOSE', (id: number, _handle: Buffer) => ok(id), ofHandle)
    on('STAT', look)
    on('LSTAT', look)
    on('FSETSTAT', (id: number, _handle: Buffer) => ok(id), ofHandle)
    on('REMOVE', (id: number, name: string) => {
      if (!files.has(name)) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE)
      files.delete(name)
      ok(id)
    })
    on('MKDIR', (id: number, _name: string) => ok(id))
    on('OPENDIR', (id: number, name: string) => {
      const handle = `folder ${handles.size}`
      handles.set(handle, name)
      sftp.handle(id, Buffer.from(handle))
    })
    sftp.on('READDIR', (id, handle) => {
      // Everything at once, and then the end.
      if (handles.get(`${handle} read`)) return sftp.status(id, STATUS_CODE.EOF)
      handles.set(`${handle} read`, 'yes')
      const names = [...files.keys()].map((name) => name.slice(name.lastIndexOf('/') + 1))
      const attrs = (size = 0) => ({ mode: 0o100644, uid: 0, gid: 0, size, atime: 0, mtime: 0 })
      sftp.name(
        id,
        ['.', ...names].map((filename) => ({
          filename,
          longname: filename,
          attrs: attrs(files.get(filename)?.length),
        })),
      )
    })
    on('RENAME', (id: number, from: string, to: string) => {
      if (options.onRename) options.onRename(() => rename(id, from, to))
      else rename(id, from, to)
    })
    const rename = (id: number, from: string, to: string) => {
      const file = files.get(from)
      if (!file) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE)
      if (files.has(to) && !options.renameReplaces) return failure(id)
      files.delete(from)
      files.set(to, file)
      // What is open stays open under its new name.
      for (const [handle, name] of handles) if (name === from) handles.set(handle, to)
      ok(id)
      options.afterRename?.(socket, to)
    }
  }

  return {
    port: (server.address() as AddressInfo).port,
    files,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function flood(client: ssh2.Connection, socket: Socket): void {
  const { _protocol } = client as unknown as { _protocol: { ping(): void } }
  socket.pause()
  const send = () => {
    if (socket.destroyed) return
    while (socket.writableLength < 1_000_000) _protocol.ping()
    setImmediate(send)
  }
  send()
}

/** Also one that ssh2 does not know, and so would not send. */
function anyStatus(sftp: SFTPWrapper, id: number, status: number): void {
  const packet = Buffer.alloc(21)
  packet.writeUInt32BE(17, 0)
  packet[4] = 101
  packet.writeUInt32BE(id, 5)
  packet.writeUInt32BE(status, 9)
  const { _protocol, outgoing } = sftp as unknown as {
    _protocol: { channelData(channel: number, data: Buffer): void }
    outgoing: { id: number }
  }
  _protocol.channelData(outgoing.id, packet)
}
