// Loaded into a program before anything else: its clock is CLOCK_SHIFT_SECONDS away from the machine's.
const Real = Date
const shift = Number(process.env.CLOCK_SHIFT_SECONDS ?? 0) * 1000
const now = () => Real.now() + shift

globalThis.Date = new Proxy(Real, {
  construct: (target, given, made) => Reflect.construct(target, given.length === 0 ? [now()] : given, made),
  apply: () => new Real(now()).toString(),
  get: (target, name, self) => (name === 'now' ? now : Reflect.get(target, name, self)),
})
