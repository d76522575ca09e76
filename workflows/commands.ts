// Commands that are sent to a run itself, from Temporal's UI, CLI or SDK. The API's commands are in the rows already: their
// signal only makes the run read these.
import { ActivityFailure, ApplicationFailure, proxyActivities, proxyLocalActivities } from '@temporalio/workflow'
import type { Activities } from '../activities/index.ts'
import { RETRY_FOREVER } from './deliveries.ts'
import {
  type CommandAnswer,
  type CommandName,
  type DistributionRef,
  type InRows,
  REFUSED,
  type RunStatus,
} from './messages.ts'

const quick = proxyLocalActivities<Pick<Activities, 'command'>>({
  startToCloseTimeout: '2 s',
  scheduleToCloseTimeout: '4 s',
  retry: { maximumAttempts: 2 },
})
const { command: applySlowly } = proxyActivities<Pick<Activities, 'command'>>({
  startToCloseTimeout: '30 s',
  retry: RETRY_FOREVER,
})

interface Waiting {
  command: CommandName
  request: unknown
  accept(answer: CommandAnswer): void
  refuse(failure: ApplicationFailure): void
}

export class Commands {
  readonly #waiting: Waiting[] = []
  last: RunStatus['last_command'] = null

  get waiting(): boolean {
    return this.#waiting.length > 0
  }

  /** Resolves when the command has been applied; rejects with the reason if it cannot be. */
  take(command: CommandName, request: unknown): Promise<CommandAnswer> {
    return new Promise((accept, refuse) => this.#waiting.push({ command, request, accept, refuse }))
  }

  /** Applies everything that waits, in the order of its arrival. */
  async applyAll(ref: DistributionRef, round: number): Promise<void> {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { command, request, accept, refuse } = next
      try {
        accept(await apply({ ...ref, command, request, round }))
        this.last = { command, accepted: true, reason: null }
      } catch (error) {
        const failure = refusalIn(error)
        if (!failure) throw error
        this.last = { command, accepted: false, reason: failure.message }
        refuse(failure)
      }
    }
  }
}

export function isInRows(request: unknown): request is InRows {
  return typeof request === 'object' && request !== null && 'in_rows' in request && request.in_rows === true
}

async function apply(input: Parameters<Activities['command']>[0]): Promise<CommandAnswer> {
  try {
    return await quick.command(input)
  } catch (error) {
    if (refusalIn(error)) throw error
    return await applySlowly(input)
  }
}

function refusalIn(error: unknown): ApplicationFailure | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined
  return cause instanceof ApplicationFailure && cause.type === REFUSED ? cause : undefined
}
