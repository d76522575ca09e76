// The configuration of an SFTP destination: its validation, type, masking and published JSON schema.
import { z } from 'zod'
import { host, port, template, timeoutSeconds } from '../fields.ts'
import { configuration, credentialField, deciding, optionalSecret, type Resolved } from '../secrets/secret.ts'
import { ASIDE_SUFFIX, pathProblem } from './path.ts'

/** SHA-256 in base64 without padding, as OpenSSH prints it. */
const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/

const HOST_KEY_ERROR =
  'must be the fingerprint of the server\'s key, such as "SHA256:…" (43 characters follow; "ssh-keyscan HOST | ' +
  'ssh-keygen -lf -" prints it), a list of them, or "any" to trust any server'

const fingerprint = z.string().regex(FINGERPRINT, HOST_KEY_ERROR)

const hostKey = z.union(
  [
    z.literal('any'),
    fingerprint,
    z.array(fingerprint).min(1, HOST_KEY_ERROR).max(10, 'may list up to 10 fingerprints'),
  ],
  { error: HOST_KEY_ERROR },
)

const fileMode = z.string().regex(/^0?[0-7]{3}$/, 'must be three octal digits, such as "0640"')
/** A folder may also have the setgid and sticky bits. */
const directoryMode = z.string().regex(/^[0-3]?[0-7]{3}$/, 'must be three or four octal digits, such as "0750"')

export const sftpConfig = configuration({
  host: host(),
  port: port(22),
  username: credentialField().describe('User name'),
  password: optionalSecret().describe('Password; give this or `private_key`'),
  private_key: optionalSecret().describe('Private key in OpenSSH or PEM format: RSA, ECDSA or Ed25519'),
  passphrase: optionalSecret().describe('Passphrase of an encrypted `private_key`'),
  host_key: deciding(hostKey, (keys) => [keys].flat().sort()).describe(
    'Fingerprint of the server\'s key as `ssh-keygen -l` prints it (`SHA256:…`), or several. `"any"` trusts any server, which then sees the password and the document',
  ),
  path: template(4096)
    .superRefine((value, context) => {
      const problem = pathProblem(value)
      if (problem) context.addIssue({ code: 'custom', message: problem })
    })
    .describe(
      'Remote file, such as `in/{distribution_id}.json`; placeholders are filled in, but cannot add a `/`. Without a leading `/` it is relative to the start folder of the user',
    ),
  if_exists: z
    .enum(['overwrite', 'fail', 'keep_both'])
    .default('overwrite')
    .describe(
      'If the file exists: replace it, fail permanently, or write `name-<delivery id>.ext` beside it. A repeat of the same delivery recognises its own file. A server without `posix-rename` cannot replace it in one step. There the older file is renamed to `.<delivery id>.older` (`.<delivery id>.2.older` in the second attempt) for a moment; if the connection ends in that moment, the next attempt restores its name',
    ),
  create_directories: z.boolean().default(true).describe('Creates missing folders of `path`'),
  file_mode: fileMode.optional().describe('Permissions of the file, such as `0640`; by default the server decides'),
  directory_mode: directoryMode.optional().describe('Permissions of the folders that are created'),
  temporary_suffix: z
    .string()
    .regex(/^\.[A-Za-z0-9_-]{1,30}$/, 'must be a dot and up to 30 letters, digits, "_" or "-"')
    .refine(
      (suffix) => suffix.toLowerCase() !== ASIDE_SUFFIX,
      'is reserved: an older file has this suffix while it is replaced',
    )
    .default('.part')
    .describe(
      'While it is written, the file is called `.<delivery id>` (`.<delivery id>.2` in the second attempt) with this suffix, in the same folder. It stays behind only if the connection ends and no further attempt follows',
    ),
  legacy_algorithms: deciding(z.boolean())
    .default(false)
    .describe('Also offers outdated algorithms for old servers: SHA-1 key exchange, CBC ciphers, DSA keys'),
  timeout_seconds: timeoutSeconds(),
}).superRefine((value, context) => {
  const { password, private_key, passphrase, credentials } = value
  const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
  if (password !== undefined && private_key !== undefined)
    issue('private_key', 'cannot be used together with "password": state only one of them')
  if (credentials !== undefined) return
  if (password === undefined && private_key === undefined) {
    issue('password', 'is required, or "private_key": state one of them, or the "credentials" that contain it')
  }
  if (passphrase !== undefined && private_key === undefined) issue('passphrase', 'is stated without a "private_key"')
})

export type SftpConfig = Resolved<z.output<typeof sftpConfig>>
