// The application must run under a role that is subject to row-level security; a stronger role is refused at start.
import type { Pool } from '../pool.ts'

/** The role of DATABASE_URL has too many rights, or lacks rights that the migrations granted. `lines`: one reason each. */
export class ApplicationRoleError extends Error {
  override name = 'ApplicationRoleError'
  readonly lines: string[]

  constructor(lines: string[]) {
    super(lines.join('\n'))
    this.lines = lines
  }
}

/**
 * Throws `ApplicationRoleError` unless the pool's login is subject to row security: no superuser, no BYPASSRLS, not a
 * member of `distributor_system`, owner of none of our tables (also not through a role it belongs to), and a member of
 * `distributor_app`, which holds the grants.
 */
export async function assertApplicationRole(pool: Pool): Promise<void> {
  const { rows } = await pool.query(
    `select
       r.rolname as name,
       r.rolsuper as superuser,
       r.rolbypassrls as bypasses,
       exists (
         select from pg_roles s
         where s.rolname = 'distributor_system' and pg_has_role(r.oid, s.oid, 'member')
       ) as system,
       exists (
         select from pg_roles a
         where a.rolname = 'distributor_app' and pg_has_role(r.oid, a.oid, 'usage')
       ) as app,
       array(
         select c.relname::text from pg_class c
         where c.relnamespace = 'public'::regnamespace
           and c.relkind in ('r', 'p', 'm', 'v')
           and pg_has_role(r.oid, c.relowner, 'member')
         order by c.relname
         limit 3
       ) as owned
     from pg_roles r
     where r.rolname = session_user`,
  )
  const role = rows[0]
  const lines: string[] = []
  if (role.superuser) lines.push(`DATABASE_URL: ${role.name} is a superuser, to which row security does not apply`)
  if (role.bypasses) lines.push(`DATABASE_URL: ${role.name} bypasses row security`)
  // A superuser counts as a member of every role; one reason is enough.
  if (!role.superuser) {
    if (role.system) lines.push(`DATABASE_URL: ${role.name} is a member of distributor_system, which sees all tenants`)
    if (role.owned.length > 0) lines.push(`DATABASE_URL: ${role.name} owns ${role.owned.join(', ')}`)
    if (!role.app) lines.push(`DATABASE_URL: ${role.name} must be a member of distributor_app, which holds the grants`)
  }
  if (lines.length > 0) throw new ApplicationRoleError(lines)
}
