"""The RPC proof: every service of Nova is asked now and then whether it answers (F-40).

``servicegroup nova probe`` asks, ``broker`` by broker, in the manner of ``questions``. What came of
it is kept in a file of this host, ``results``, that all processes there judge by.
"""
