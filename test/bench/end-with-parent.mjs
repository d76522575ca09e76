// Loaded before a program that the bench starts: it ends in order when the bench is gone, however that ended.
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
