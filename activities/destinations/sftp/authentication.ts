// How the client logs in. It tries each method once per attempt: several wrong passwords lock accounts.
import type { AnyAuthMethod, AuthenticationType, ParsedKey, Prompt } from 'ssh2'
import { DeliveryError } from '../errors.ts'
import type { SftpConfig } from './config.ts'
import { privateKey } from './key.ts'

export interface Login {
  /** ssh2's `authHandler`: the method to try next, or false when there is none left. */
  next(left: AuthenticationType[] | null): AnyAuthMethod | false
  kind: 'password' | 'private_key'
  /** The methods that the server named after it refused one. */
  offered(): string[]
}

/** @throws DeliveryError MISCONFIGURED when there is no login, or the key cannot be read */
export function loginOf({ username, password, private_key, passphrase }: SftpConfig): Login {
  if (password !== undefined && private_key !== undefined) {
    throw new DeliveryError('MISCONFIGURED', 'both password and private_key are stated; state only one of them')
  }
  if (password === undefined && private_key === undefined) {
    throw new DeliveryError('MISCONFIGURED', 'neither a password nor a private_key is stated')
  }
  const methods =
    private_key === undefined
      ? passwordMethods(username, password!)
      : keyMethods(username, privateKey(private_key, passphrase))
  let offered: string[] = []
  return {
    kind: private_key === undefined ? 'password' : 'private_key',
    offered: () => offered,
    next(left) {
      offered = (left ?? []).filter((name) => /^[a-z-]{1,40}$/.test(name))
      return methods(left) ?? false
    },
  }
}

type Methods = (left: AuthenticationType[] | null) => AnyAuthMethod | undefined

function keyMethods(username: string, key: ParsedKey): Methods {
  let tried = false
  return () => {
    if (tried) return undefined
    tried = true
    return { type: 'publickey', username, key }
  }
}

/** Sends the password; if the server takes no passwords, sends it as the answer to its only hidden question (PAM). */
function passwordMethods(username: string, password: string): Methods {
  const tried = new Set<string>()
  let answered = false
  const prompt = (
    _name: string,
    _instructions: string,
    _language: string,
    prompts: Prompt[],
    finish: (answers: string[]) => void,
  ) => {
    const [only] = prompts
    const answer = !answered && prompts.length === 1 && only?.echo !== true
    answered ||= answer
    finish(answer ? [password] : prompts.map(() => ''))
  }
  return (left) => {
    const takesPasswords = left?.includes('password') ?? true
    if (!tried.has('password')) {
      tried.add('password')
      return { type: 'password', username, password }
    }
    if (takesPasswords || tried.has('keyboard-interactive') || !left?.includes('keyboard-interactive')) return undefined
    tried.add('keyboard-interactive')
    return { type: 'keyboard-interactive', username, prompt }
  }
}
