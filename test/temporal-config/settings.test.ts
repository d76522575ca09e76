import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  describeSettings,
  environmentSecrets,
  helpText,
  misspeltSettings,
  readSettings,
  SettingsError,
} from '../../temporal-config/process/settings.ts'

const KEY = randomBytes(32).toString('base64')

function refusals(env: Record<string, string>): string[] {
  try {
    readSettings(env)
  } catch (error) {
    if (error instanceof SettingsError) return error.lines
    throw error
  }
  return []
}

describe('settings', () => {
  it('have defaults that need nothing in the environment', () => {
    expect(readSettings({})).toMatchObject({
      API_HOST: '127.0.0.1',
      API_PORT: 8000,
      WORKER_PORT: 8001,
      TEMPORAL_PORT: 7233,
      TEMPORAL_UI_PORT: 8233,
      DATABASE_PORT: 5433,
      TEMPORAL_NAMESPACE: 'default',
      DATA_DIR: '.data',
      BOOTSTRAP_TENANT: 'demo',
      EGRESS_ALLOW: [],
      MAX_BODY_BYTES: 10_485_760,
      LOG_LEVEL: 'info',
    })
  })

  it('take an empty value for an absent one', () => {
    expect(readSettings({ API_PORT: '', DATABASE_URL: ' ' })).toMatchObject({ API_PORT: 8000 })
  })

  it.each([
    ['API_PORT', '70000'],
    ['API_PORT', '-1'],
    ['API_PORT', '80.5'],
    ['WORKER_PORT', 'x'],
    ['TEMPORAL_ADDRESS', 'localhost'],
    ['TEMPORAL_ADDRESS', 'http://localhost:7233'],
    ['BOOTSTRAP_TENANT', 'a b'],
    ['BOOTSTRAP_API_KEY', 'short'],
    ['BOOTSTRAP_API_KEY', 'x'.repeat(23)],
    ['BOOTSTRAP_API_KEY', `${'x'.repeat(24)} y`],
    ['CALLBACK_SECRET', 'whsec_dG9vIHNob3J0'],
    ['EGRESS_ALLOW', '10.0.0.1'],
    ['EGRESS_ALLOW', '10.0.0.0/8,here'],
    ['MAX_BODY_BYTES', '10MiB'],
    ['LOG_LEVEL', 'loud'],
    ['ENCRYPTION_KEYS', 'no-key'],
    ['ENCRYPTION_KEYS', 'a:dG9vIHNob3J0'],
    ['ENCRYPTION_KEYS', `a:${KEY},a:${KEY}`],
  ])('%s=%s is refused with one line that starts with its name', (name, value) => {
    const lines = refusals({ [name]: value })
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(new RegExp(`^${name}: `))
  })

  it('are refused all at once, one line each', () => {
    expect(refusals({ API_PORT: 'x', LOG_LEVEL: 'loud', EGRESS_ALLOW: 'here,there' })).toHaveLength(3)
  })

  it('never repeat a secret in a refusal', () => {
    const lines = refusals({
      DATABASE_URL: 'mysql://user:hunter2@host/db',
      BOOTSTRAP_API_KEY: 'hunter2',
      ENCRYPTION_KEYS: 'hunter2',
      CALLBACK_SECRET: 'hunter2',
    })
    expect(lines).toHaveLength(4)
    expect(lines.join()).not.toContain('hunter2')
  })

  it('require ENCRYPTION_KEYS when DATABASE_URL is given', () => {
    const DATABASE_URL = 'postgres://app@db/distributor'
    expect(refusals({ DATABASE_URL })).toEqual(['ENCRYPTION_KEYS: is required with DATABASE_URL'])
    expect(refusals({ DATABASE_URL, ENCRYPTION_KEYS: `k1:${KEY}` })).toEqual([])
    expect(() => readSettings({ DATABASE_ADMIN_URL: 'postgres://owner@db/distributor' }, 'migrate')).not.toThrow()
  })

  it('are listed in --help with their defaults and meanings', () => {
    const help = helpText('start')
    for (const { name, meaning, shown } of describeSettings()) {
      expect(help).toContain(name)
      expect(help).toContain(meaning)
      expect(shown).not.toBe('')
    }
  })

  it('leave credentials of the environment under their full names', () => {
    expect(environmentSecrets({ DISTRIBUTOR_SECRET_DEMO__CRM: '{"token":"t"}', PATH: '/bin' })).toEqual({
      DISTRIBUTOR_SECRET_DEMO__CRM: '{"token":"t"}',
    })
  })
})

describe('misspelt settings', () => {
  it('are named with the setting that was probably meant; other variables are not', () => {
    const env = { EGRESS_ALOW: '10.0.0.0/8', API_PROT: '1', API_PORT: '2', PATH: '/bin', HOME: '/', NODE_ENV: 'test' }
    expect(misspeltSettings(env)).toEqual([
      'EGRESS_ALOW is not a setting; did you mean EGRESS_ALLOW?',
      'API_PROT is not a setting; did you mean API_PORT?',
    ])
  })
})
