// Whether a Temporal server answers.
import { Connection } from '@temporalio/client'

/** True when the server at `address` knows `namespace`. */
export async function temporalAnswers(address: string, namespace: string, timeoutMs = 2000): Promise<boolean> {
  // A connection for each question: one that failed would wait a second before it tries again.
  const connection = Connection.lazy({ address, connectTimeout: timeoutMs })
  try {
    await connection.withDeadline(Date.now() + timeoutMs, () =>
      connection.workflowService.describeNamespace({ namespace }),
    )
    return true
  } catch {
    return false
  } finally {
    await connection.close()
  }
}
