// Every limit on what a request, a tenant or a receiver may cost: its value, and the reason for it. Pure data, which any
// folder may import. `npm run docs` writes the README's table from it.

export interface Limit {
  /** What is limited, as the documentation names it. */
  what: string
  value: number
  /** What `value` counts: `levels`, `bytes`, `ms` … */
  unit: string
  /** Why there is a limit, and why this one. */
  reason: string
}

export const LIMITS = {
  jsonDepth: {
    what: 'Nesting of a JSON request',
    value: 500,
    unit: 'levels',
    reason: "PostgreSQL's jsonb parser is recursive, and so are those of most receivers",
  },
  shapingTime: {
    what: 'Processor time to shape or check one payload',
    value: 20_000,
    unit: 'ms',
    reason:
      "an expression may loop; the largest payload takes a few seconds. Processor time, so that a busy machine isn't blamed on the tenant",
  },
  shapingWall: {
    what: 'Time by the clock to shape or check one payload',
    value: 120_000,
    unit: 'ms',
    reason:
      'a machine that gives a process less than a sixth of a core is out of order; the delivery is retried, and the payload is not blamed',
  },
  shapingIdle: {
    what: 'Time in which a shaping process at work uses no processor time',
    value: 5000,
    unit: 'ms',
    reason:
      'shaping never waits for anything; counted by a thread of the same process, so that a busy machine does not count',
  },
  shapingSilence: {
    what: 'Time without a sign of life of a shaping process at work',
    value: 30_000,
    unit: 'ms',
    reason: 'it gives a sign of life every 100 ms; one that was frozen must not hold its slot',
  },
  shapingMemory: {
    what: 'Heap of a shaping process',
    value: 512,
    unit: 'MiB',
    reason: 'a payload of 10 MB takes about 200 MiB as a tree of values',
  },
  shapingAtOnce: {
    what: 'Shaping processes at work at the same time',
    value: 2,
    unit: 'processes',
    reason:
      'one tenant has one of them at most, and slow tenants have one together, so that the other is free within about a second',
  },
  shapingKept: {
    what: 'Shaping processes, idle ones included',
    value: 12,
    unit: 'processes',
    reason: 'a process is kept for the next payload of its tenant; each idle one holds about 40 MB',
  },
  shapingKeep: {
    what: 'Time for which an idle shaping process is kept',
    value: 60_000,
    unit: 'ms',
    reason: 'starting one takes as much processor time as some twenty small payloads',
  },
  jsonValues: {
    what: 'Objects, arrays and single values in a JSON request',
    value: 2_000_000,
    unit: 'values',
    reason:
      'A few kilobytes of gzip hold millions of empty objects; ten megabytes of records have less than one million',
  },
  outerJsonValues: {
    what: 'The same outside of the payload, for each distribution',
    value: 25_000,
    unit: 'values',
    reason: 'Each of them is checked by itself; a thousand inline destinations with twenty fields fit',
  },
  outerJsonBytes: {
    what: 'JSON outside of the payload, for each distribution',
    value: 4_194_304,
    unit: 'bytes',
    reason: 'It is checked as a whole; a thousand inline destinations of four kilobytes fit',
  },
  jsonText: {
    what: 'One text outside of the payload',
    value: 262_144,
    unit: 'bytes',
    reason: 'The longest field is a list of certificates',
  },
  jsonKey: {
    what: 'One key outside of the payload',
    value: 8192,
    unit: 'bytes',
    reason: 'Keys are compared with the known ones, and shown in errors',
  },
  jsonDigits: {
    what: 'Digits of one number outside of the payload, written out',
    value: 1000,
    unit: 'digits',
    reason: 'PostgreSQL writes `1e400` as 400 digits; the largest double has 309',
  },
  jsonAllDigits: {
    what: 'Digits that exponents add to the numbers outside of the payload, all together',
    value: 100_000,
    unit: 'digits',
    reason: 'A few kilobytes of `1e1000` would otherwise be read back as megabytes',
  },
  configurationValues: {
    what: 'Objects, arrays and single values in the configuration of one destination',
    value: 3000,
    unit: 'values',
    reason: 'It is checked with every attempt; a table has at most 1600 columns',
  },
  bodiesOfKey: {
    what: 'Bodies of requests under way of one API key, in each process',
    value: 6,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'A body is held until its request is answered; beyond this the key gets 429',
  },
  bodiesOfTenant: {
    what: 'The same of one tenant',
    value: 8,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'Two tenants that take all of theirs leave others their part',
  },
  bodiesOfAll: {
    what: 'The same of all tenants',
    value: 24,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'A process has to hold them; beyond this requests get 503',
  },
  smallBody: {
    what: 'A small body',
    value: 65_536,
    unit: 'bytes',
    reason: 'Most requests are smaller',
  },
  smallBodies: {
    what: 'Room that is kept for small bodies where large ones hold all of theirs',
    value: 8_388_608,
    unit: 'bytes',
    reason: 'Large uploads must not stop ordinary requests',
  },
  uploadTime: {
    what: 'Time in which a body must arrive',
    value: 120,
    unit: 's',
    reason: 'Ten megabytes need less over a megabit per second',
  },
  uploadWindow: {
    what: 'Time after which an upload is looked at, again and again',
    value: 10,
    unit: 's',
    reason: 'A sender that stops holds its share of the memory',
  },
  uploadBytes: {
    what: 'Bytes that must arrive in each such time',
    value: 65_536,
    unit: 'bytes',
    reason: 'Fifty kilobits per second; slower ones are refused with 408',
  },
  idleConnection: {
    what: 'Time after which an idle HTTP connection is closed',
    value: 60,
    unit: 's',
    reason: 'Connections that nobody uses cost memory and file descriptors',
  },
  requestHeaders: {
    what: 'Time in which the headers of a request must arrive',
    value: 30,
    unit: 's',
    reason: 'Before them nothing is known of the sender',
  },
  wrongKeys: {
    what: 'Wrong API keys from one address (of IPv6, one network of 64 bits) before they get 429',
    value: 60,
    unit: 'a minute',
    reason: 'Guesses show in the log and get slow; a right key from the same address is served all the same',
  },
  destinationsOfTenant: {
    what: 'Destinations of a tenant (`object_limits.destinations` of the tenant changes it)',
    value: 10_000,
    unit: 'destinations',
    reason: 'Rules look them up by tags and names, and lists count them',
  },
  healthChecksOfTenant: {
    what: 'Destinations with a health check (`object_limits.health_checks`)',
    value: 1000,
    unit: 'destinations',
    reason: 'Each is a schedule of Temporal that runs as often as every few seconds',
  },
  credentialsOfTenant: {
    what: 'Credentials of a tenant (`object_limits.credentials`)',
    value: 5000,
    unit: 'credentials',
    reason: 'The list of them is one answer',
  },
  dataTypesOfTenant: {
    what: 'Data types of a tenant (`object_limits.data_types`)',
    value: 1000,
    unit: 'data types',
    reason: 'A schema has up to 256 KB, and is compiled where payloads are checked',
  },
  schedulesOfTenant: {
    what: 'Schedules of a tenant (`object_limits.schedules`)',
    value: 1000,
    unit: 'schedules',
    reason: 'Each is one of Temporal, and keeps a payload',
  },
  rulesOfTenant: {
    what: 'Rules of a tenant (`object_limits.rules`)',
    value: 5000,
    unit: 'rules',
    reason: 'More would cost a distribution more than its deliveries',
  },
  apiKeysOfTenant: {
    what: 'API keys of a tenant that are neither revoked nor expired (`object_limits.api_keys`)',
    value: 1000,
    unit: 'keys',
    reason: 'A key stands for one sender; each has counters of its own',
  },
  attachmentValues: {
    what: 'Values of a payload that becomes a CSV or XML attachment of a mail',
    value: 100_000,
    unit: 'values',
    reason: 'It is made on the thread that serves all deliveries; a shape makes larger ones in a process of its own',
  },
  filledLine: {
    what: 'What placeholders bring into one URL or header',
    value: 16_384,
    unit: 'characters',
    reason:
      'Most servers take no more for a request line and its headers; a text of megabytes could stand in a URL 180 times',
  },
  filledText: {
    what: 'What placeholders bring into any other text',
    value: 1_048_576,
    unit: 'characters',
    reason: 'A mail may quote a long text of its payload',
  },
  filledMessage: {
    what: 'What placeholders bring into one message, all together',
    value: 8_388_608,
    unit: 'characters',
    reason: 'Each of its texts may ask for the longest value of the payload',
  },
  interimAnswers: {
    what: 'Interim answers (1xx) before the answer to a request',
    value: 100,
    unit: 'answers',
    reason: 'a server that works long may send one every few seconds; more than this is an endless stream',
  },
  interimBytes: {
    what: 'Head of an interim answer',
    value: 32768,
    unit: 'bytes',
    reason: 'as much as the head of an answer may have',
  },
  smtpTransactions: {
    what: 'Transactions of one mail over one connection',
    value: 100,
    unit: 'transactions',
    reason: 'A mail has at most 100 recipients, and a server may take only one of them in each transaction',
  },
  smtpServersRemembered: {
    what: 'Mail servers whose number of recipients per transaction is remembered',
    value: 1000,
    unit: 'servers',
    reason: 'Each process keeps them in memory; a server that is forgotten costs one refused recipient',
  },
  eventGather: {
    what: 'Wait before an operator event that has a count',
    value: 60,
    unit: 's',
    reason: 'failures come together: the event says how many there were, and is still told within two minutes',
  },
  eventWindow: {
    what: 'Shortest time between two such events of one kind about one destination',
    value: 900,
    unit: 's',
    reason: 'an outage that fails thousands of deliveries is a few events an hour, each with a count',
  },
  databaseStatement: {
    what: 'A statement on our own database',
    value: 30_000,
    unit: 'ms',
    reason: 'a request or an activity that waits longer holds a connection that others need; the answer is a 503',
  },
  databaseCommit: {
    what: 'A commit on our own database',
    value: 10_000,
    unit: 'ms',
    reason: 'it waits for disks alone; after a 503 the row may be there, and an idempotency key makes the repeat safe',
  },
  databaseSilence: {
    what: 'A statement without an answer, before another connection is asked whether the database answers at all',
    value: 4000,
    unit: 'ms',
    reason: 'longer than nearly every statement takes, shorter than a caller waits for the 503 of a frozen database',
  },
  clockOffset: {
    what: "Distance of a machine's clock from the database's before the log and `ready` say so",
    value: 5000,
    unit: 'ms',
    reason: "nothing depends on it, since all times are the database's; more than this is a clock that nobody sets",
  },
  wakeWindow: {
    what: 'Deliveries of one destination that are resumed and not taken up yet, at most',
    value: 500,
    unit: 'deliveries',
    reason: 'more than five workers take up in a second; the queues stay short enough for other tenants and for a stop',
  },
  migrateWaits: {
    what: '`npm run migrate` while its database is away',
    value: 60_000,
    unit: 'ms',
    reason: 'a database that is started beside it is up by then; a job that never ends would hide that it is not',
  },
  shortestRedacted: {
    what: 'Shortest secret that is taken out of stored answers',
    value: 4,
    unit: 'characters',
    reason: 'a shorter one would black out half of an innocent text; up to 5 characters only where it stands alone',
  },
  redactionsReady: {
    what: 'Sets of secrets that a process keeps ready to be taken out of answers',
    value: 100,
    unit: 'sets',
    reason: 'deliveries to one destination come together; to make a set ready costs up to a few milliseconds',
  },
  timesMadeUp: {
    what: 'Missed times of a schedule that are made up after an outage',
    value: 100,
    unit: 'times',
    reason: 'A schedule of every minute would otherwise start 43,200 distributions at once after a month',
  },
  expectationsRemembered: {
    what: 'S3 endpoints that do not know `Expect: 100-continue` and are remembered',
    value: 1000,
    unit: 'endpoints',
    reason: 'each process keeps them in memory for an hour; one that is forgotten costs one request, or one second',
  },
  sftpListing: {
    what: 'Entries of an SFTP folder that are read to find out whether a file is there',
    value: 10_000,
    unit: 'entries',
    reason:
      'only where a server answers neither LSTAT nor STAT clearly; a larger folder fails the attempt, and loses nothing',
  },
} as const satisfies Record<string, Limit>
