// Every limit on the cost of a request, a tenant or a receiver: its value, and the reason for it. Pure data, which any
// folder may import. `npm run docs` writes the table of docs/limits.md from it.

export interface Limit {
  /** The limited quantity, for the documentation. */
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
    what: 'Processor time to shape one payload, or to check a shape or a schema',
    value: 20_000,
    unit: 'ms',
    reason:
      'An expression may loop; the largest payload takes a few seconds. It is processor time, so that a busy machine is not blamed on the tenant',
  },
  checkTime: {
    what: 'Processor time to check one payload against the schema of its data type',
    value: 5000,
    unit: 'ms',
    reason:
      'A submission waits for it. Ten megabytes take about a second, and the largest schema another two; a pattern that backtracks without end takes all it gets',
  },
  shapingWall: {
    what: 'Elapsed time to shape or check one payload',
    value: 120_000,
    unit: 'ms',
    reason:
      'A machine that gives a process less than a sixth of a core is broken. The delivery is retried, and the payload is not blamed',
  },
  shapingIdle: {
    what: 'Time in which a working shaping process uses no processor time',
    value: 5000,
    unit: 'ms',
    reason: 'Shaping never waits for anything. A thread of the same process counts, so a busy machine does not matter',
  },
  shapingSilence: {
    what: 'Time in which a working shaping process sends no heartbeat',
    value: 30_000,
    unit: 'ms',
    reason: 'It sends one every 100 ms; a frozen process must not hold its slot',
  },
  shapingMemory: {
    what: 'Heap of a shaping process',
    value: 512,
    unit: 'MiB',
    reason: 'A payload of 10 MB takes about 200 MiB as a tree of values',
  },
  shapingAtOnce: {
    what: 'Shaping processes that work at the same time',
    value: 2,
    unit: 'processes',
    reason:
      'One tenant has at most one of them, and all slow tenants together have one, so that the other is free within about a second',
  },
  shapingKept: {
    what: 'Shaping processes, including idle ones',
    value: 12,
    unit: 'processes',
    reason: 'A process is kept for the next payload of its tenant; each idle one uses about 40 MB',
  },
  shapingKeep: {
    what: 'Time for which an idle shaping process is kept',
    value: 60_000,
    unit: 'ms',
    reason: 'Starting one takes as much processor time as some twenty small payloads',
  },
  jsonValues: {
    what: 'Objects, arrays and single values in a JSON request',
    value: 2_000_000,
    unit: 'values',
    reason:
      'A few kilobytes of gzip can hold millions of empty objects; ten megabytes of records have less than one million',
  },
  outerJsonValues: {
    what: 'Objects, arrays and single values outside the payload, per distribution',
    value: 25_000,
    unit: 'values',
    reason: 'Each of them is checked by itself; a thousand inline destinations with twenty fields fit',
  },
  outerJsonBytes: {
    what: 'JSON outside the payload, per distribution',
    value: 4_194_304,
    unit: 'bytes',
    reason: 'It is checked as a whole; a thousand inline destinations of four kilobytes fit',
  },
  jsonText: {
    what: 'One text outside the payload',
    value: 262_144,
    unit: 'bytes',
    reason: 'The longest field is a list of certificates',
  },
  jsonKey: {
    what: 'One key outside the payload',
    value: 8192,
    unit: 'bytes',
    reason: 'Keys are compared with the known ones and shown in errors',
  },
  jsonDigits: {
    what: 'Digits of one number outside the payload, written out',
    value: 1000,
    unit: 'digits',
    reason: 'PostgreSQL writes `1e400` as 400 digits; the largest double has 309',
  },
  jsonAllDigits: {
    what: 'Digits that exponents add to all numbers outside the payload together',
    value: 100_000,
    unit: 'digits',
    reason: 'A few kilobytes of `1e1000` would otherwise be read back as megabytes',
  },
  configurationValues: {
    what: 'Objects, arrays and single values in the configuration of one destination',
    value: 3000,
    unit: 'values',
    reason: 'It is checked at every attempt; a table has at most 1600 columns',
  },
  bodiesOfKey: {
    what: 'Request bodies that one API key has in a process at the same time',
    value: 6,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'A body is held until its request is answered. Beyond this the key gets 429',
  },
  bodiesOfTenant: {
    what: 'Request bodies that one tenant has in a process at the same time',
    value: 8,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'Two tenants that use all of theirs leave room for the others. Beyond this the tenant gets 429',
  },
  bodiesOfAll: {
    what: 'Request bodies of all tenants in a process at the same time',
    value: 24,
    unit: 'times `MAX_BODY_BYTES`',
    reason: 'A process has to hold them. Beyond this requests get 503',
  },
  smallBody: {
    what: 'A small body',
    value: 65_536,
    unit: 'bytes',
    reason: 'Most requests are smaller',
  },
  smallBodies: {
    what: 'Memory reserved for small bodies when large ones use all of theirs',
    value: 8_388_608,
    unit: 'bytes',
    reason: 'Large uploads must not stop ordinary requests',
  },
  uploadTime: {
    what: 'Time in which a body must arrive',
    value: 120,
    unit: 's',
    reason: 'Ten megabytes need less at one megabit per second',
  },
  uploadWindow: {
    what: 'Interval at which the progress of an upload is checked',
    value: 10,
    unit: 's',
    reason: 'A sender that stops holds its share of the memory',
  },
  uploadBytes: {
    what: 'Bytes that must arrive in each such interval',
    value: 65_536,
    unit: 'bytes',
    reason: 'Fifty kilobits per second; slower uploads get 408',
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
    reason: 'Before them nothing is known about the sender',
  },
  wrongKeys: {
    what: 'Wrong API keys from one address (for IPv6, one /64 network) before it gets 429',
    value: 60,
    unit: 'a minute',
    reason: 'Guesses become slow and show in the log; a right key from the same address is still accepted',
  },
  destinationsOfTenant: {
    what: 'Destinations of a tenant (`object_limits.destinations` of the tenant changes it)',
    value: 10_000,
    unit: 'destinations',
    reason: 'Rules find them by tags and names, and lists count them',
  },
  healthChecksOfTenant: {
    what: 'Destinations of a tenant with a health check (`object_limits.health_checks`)',
    value: 1000,
    unit: 'destinations',
    reason: 'Each is a schedule in Temporal that runs as often as every ten seconds',
  },
  credentialsOfTenant: {
    what: 'Credentials of a tenant (`object_limits.credentials`)',
    value: 5000,
    unit: 'credentials',
    reason: 'One answer lists all of them',
  },
  dataTypesOfTenant: {
    what: 'Data types of a tenant (`object_limits.data_types`)',
    value: 1000,
    unit: 'data types',
    reason: 'A schema has up to 256 KB, and every process that checks payloads compiles it',
  },
  schedulesOfTenant: {
    what: 'Schedules of a tenant (`object_limits.schedules`)',
    value: 1000,
    unit: 'schedules',
    reason: 'Each is a schedule in Temporal and keeps a payload',
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
    reason: 'Each key has counters of its own',
  },
  attachmentValues: {
    what: 'Values of a payload that becomes a CSV or XML attachment of a mail',
    value: 100_000,
    unit: 'values',
    reason: 'It is made on the thread that serves all deliveries. A shape makes larger ones, in a process of its own',
  },
  filledLine: {
    what: 'Characters that placeholders insert into one URL or header',
    value: 16_384,
    unit: 'characters',
    reason: 'Most servers accept no more for a request line and its headers',
  },
  filledText: {
    what: 'Characters that placeholders insert into any other text',
    value: 1_048_576,
    unit: 'characters',
    reason: 'A mail may quote a long text of its payload',
  },
  filledMessage: {
    what: 'Characters that placeholders insert into one message in total',
    value: 8_388_608,
    unit: 'characters',
    reason: 'Each of its texts may ask for the longest value of the payload',
  },
  interimAnswers: {
    what: 'Interim answers (1xx) before the answer to a request',
    value: 100,
    unit: 'answers',
    reason: 'A slow server may send one every few seconds; more than this is an endless stream',
  },
  interimBytes: {
    what: 'Headers of an interim answer',
    value: 32768,
    unit: 'bytes',
    reason: 'The headers of a final answer have the same limit',
  },
  databaseAnswer: {
    what: 'What a receiving database sends before the next thing that it is asked',
    value: 16_777_216,
    unit: 'bytes',
    reason:
      'The answers have a few hundred bytes, or a few hundred for each column of the table. The client holds an answer in memory until it ends',
  },
  smtpTransactions: {
    what: 'Transactions of one mail over one connection',
    value: 100,
    unit: 'transactions',
    reason: 'A mail has at most 100 recipients, and a server may accept only one in each transaction',
  },
  smtpServersRemembered: {
    what: 'Mail servers whose number of recipients per transaction is remembered',
    value: 1000,
    unit: 'servers',
    reason: 'Each process keeps them in memory; a server that is forgotten costs one rejected recipient',
  },
  eventGather: {
    what: 'Wait before a counted operator event is sent',
    value: 60,
    unit: 's',
    reason: 'Failures come together: the event says how many there were, and is still sent within two minutes',
  },
  eventWindow: {
    what: 'Shortest time between two counted events of one kind about one destination',
    value: 900,
    unit: 's',
    reason: 'An outage that fails thousands of deliveries is a few events an hour, each with a count',
  },
  databaseStatement: {
    what: "A statement on the Distributor's own database",
    value: 30_000,
    unit: 'ms',
    reason: 'A longer one holds a connection that others need; the answer is a 503',
  },
  databaseCommit: {
    what: "A commit on the Distributor's own database",
    value: 10_000,
    unit: 'ms',
    reason: 'It waits only for disks. After a 503 the row may be stored; an idempotency key makes the repeat safe',
  },
  databaseSilence: {
    what: 'A statement without an answer, before another connection checks whether the database answers at all',
    value: 4000,
    unit: 'ms',
    reason:
      'Longer than nearly every statement takes, and shorter than a caller waits for the 503 of a frozen database',
  },
  clockOffset: {
    what: "Difference of a machine's clock from the database's before the log and `ready` report it",
    value: 5000,
    unit: 'ms',
    reason:
      "Nothing depends on it, because all times are the database's; a larger difference is a clock that nobody sets",
  },
  resumeWindow: {
    what: 'Deliveries of one destination that are resumed and have not started yet',
    value: 500,
    unit: 'deliveries',
    reason: 'More than five workers start in a second; the queues stay short enough for other tenants and for a stop',
  },
  migrateWaits: {
    what: 'Time for which `npm run migrate` waits for its database',
    value: 60_000,
    unit: 'ms',
    reason: 'A database that starts beside it is up by then; a job that never ends would hide that it is not',
  },
  shortestRedacted: {
    what: 'Shortest secret that is removed from stored answers',
    value: 4,
    unit: 'characters',
    reason:
      'A shorter one would black out half of an innocent text. Up to 5 characters are removed only as a whole word',
  },
  redactionsReady: {
    what: 'Sets of secrets that a process keeps prepared for removal',
    value: 100,
    unit: 'sets',
    reason: 'Deliveries to one destination come together; preparing a set takes up to a few milliseconds',
  },
  timesMadeUp: {
    what: 'Missed times of a schedule that run after an outage',
    value: 100,
    unit: 'times',
    reason: 'A schedule of every minute would otherwise start 43,200 distributions at once after a month',
  },
  expectationsRemembered: {
    what: 'S3 endpoints without `Expect: 100-continue` that are remembered',
    value: 1000,
    unit: 'endpoints',
    reason: 'Each process keeps them in memory for an hour; one that is forgotten costs one request, or one second',
  },
  sftpListing: {
    what: 'Entries of an SFTP folder that are read to find out whether a file exists',
    value: 10_000,
    unit: 'entries',
    reason:
      'Only if a server answers neither LSTAT nor STAT clearly. A larger folder fails the attempt, and loses nothing',
  },
} as const satisfies Record<string, Limit>
