// What a plan is made from and what it holds.
import type { Candidate } from '../../db/rules/rule-lookups.ts'
import type { Priority, RuleType } from '../../db/states.ts'
import type { Outcome } from './evaluate.ts'

export interface Lookups {
  /** The tenant's destinations of these names, and the living ones with one of these tags. */
  destinations(names: string[], tags: string[]): Promise<Candidate[]>
  /** Takes a turn of each rule, from 0. */
  turns(ruleIds: string[]): Promise<Map<string, number>>
  /** Share of the recent attempts that failed, by destination. */
  failures(names: string[]): Promise<Map<string, number>>
}

export interface PlannedDestination {
  name: string
  /** Null: the submission's own, inline. */
  candidate: Candidate | null
  status: 'pending' | 'failed' | 'skipped'
  error_code: 'DESTINATION_DISABLED' | 'DESTINATION_DELETED' | 'MISCONFIGURED' | null
  error_message: string | null
  /** The rule that chose it. */
  rule: string | null
  failover_group: number | null
  /** Waits until those before it in its group have failed for good. */
  standby: boolean
  /** Of a group, and owed to another rule as well: a success of the group is not one of this. */
  required: boolean
  shape: Record<string, unknown> | null
}

export interface Considered {
  id: string
  name: string
  shared: boolean
  rule_type: RuleType
  priority: number
  /** Null: not asked, since a rule before it said stop or dropped everything. */
  outcome: Outcome | null
  unreadable?: string
  note?: string
}

export interface RulePlan {
  chosen_by: 'submission' | 'rules' | 'default' | 'none'
  destinations: PlannedDestination[]
  /** Everything was dropped, by this rule. */
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
