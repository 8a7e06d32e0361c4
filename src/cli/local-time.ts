/** The moment in ISO 8601, in local time and with its distance to UTC: '2025-11-22T16:01:33+01:00'. */
export function localTime(epochMs: number): string {
  const date = new Date(epochMs)
  const offsetMinutes = -date.getTimezoneOffset()
  const shifted = new Date(epochMs + offsetMinutes * 60_000)
  const sign = offsetMinutes < 0 ? '-' : '+'
  const distance = Math.abs(offsetMinutes)
  const hours = String(Math.floor(distance / 60)).padStart(2, '0')
  const minutes = String(distance % 60).padStart(2, '0')
  return `${shifted.toISOString().slice(0, 19)}${sign}${hours}:${minutes}`
}
