"""What asv runs: `sweep`, measured once per commit for the dashboard, and `gate`, by which two commits are compared.

The settings in asv.conf.json have these reasons: asv's own build command leaves a wheel of every dependency and then
finds several, and its own installation takes the dependencies anew with each commit. A fork takes a tenth of the time
of an interpreter, and each parameter has a process. What the sweep measures once must be a quarter worse to be called
a regression, and of throughput, where less would be better to asv, nothing is.
"""
