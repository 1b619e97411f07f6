"""The liveness layer for a real, unmodified Nova: RPC liveness AND driver liveness (spec S2).

nova.conf brings it in: oslo.config opens ``source`` while Nova reads its configuration, which makes
the drivers known to Nova; Nova then builds ``driver``, which asks ``layer``. Only modules here
import Nova, and none of them imports the register's own record.
"""
