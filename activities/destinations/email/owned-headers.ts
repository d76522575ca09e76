// Header fields of a mail that no configuration may set.
import { OWNED } from '../template/owned-names.ts'

/** Header fields that we, nodemailer or a mail server set (RFC 5322, 2045, 6376, 3834, 8601, 8617). */
const MAIL =
  /^(from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|content-.*|auto-submitted|return-path|received|received-spf|authentication-results|arc-.*|delivered-to|dkim-signature|domainkey-signature|resent-.*|x-distribution-id|x-mailer)$/

/** The problem with the name of a header field; undefined if it is valid. */
export function mailHeaderProblem(name: string): string | undefined {
  return MAIL.test(name.toLowerCase()) ? OWNED : undefined
}
