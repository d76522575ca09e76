// The input of planning, and the plan.
import type { Candidate } from '../../db/rules/rule-lookups.ts'
import type { Priority, RuleType } from '../../db/states.ts'
import type { Outcome } from './evaluate.ts'

export interface Lookups {
  /** The tenant's destinations of these names, and those that are not deleted and have one of these tags. */
  destinations(names: string[], tags: string[]): Promise<Candidate[]>
  /** The next number of each rule's counter, from 0. */
  turns(ruleIds: string[]): Promise<Map<string, number>>
  /** Share of the recent attempts that failed, by destination. */
  failures(names: string[]): Promise<Map<string, number>>
}

export interface PlannedDestination {
  name: string
  /** Null: an inline destination of the submission. */
  candidate: Candidate | null
  status: 'pending' | 'failed' | 'skipped'
  error_code: 'DESTINATION_DISABLED' | 'DESTINATION_DELETED' | 'MISCONFIGURED' | null
  error_message: string | null
  /** The rule that chose it. */
  rule: string | null
  failover_group: number | null
  /** Waits until all before it in its group have failed permanently. */
  standby: boolean
  /** Member of a group, but also chosen by another rule: it is needed even if the group succeeds. */
  required: boolean
  shape: Record<string, unknown> | null
}

export interface Considered {
  id: string
  name: string
  shared: boolean
  rule_type: RuleType
  priority: number
  /** Null: not evaluated, because a rule before it stopped the evaluation or dropped everything. */
  outcome: Outcome | null
  unreadable?: string
  note?: string
}

export interface RulePlan {
  chosen_by: 'submission' | 'rules' | 'default' | 'none'
  destinations: PlannedDestination[]
  /** The rule that dropped everything. */
  dropped: { rule: string; reason: string | null } | null
  priority: { value: Priority; rule: string } | null
  expires_in_seconds: { value: number; rule: string } | null
  max_retries: { value: number; rule: string } | null
  warnings: string[]
  considered: Considered[]
}

export interface Submitted {
  name: string
  /** Its configuration comes with the submission. */
  inline: boolean
}
