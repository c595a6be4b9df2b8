"""A hardening change on its way to production: evidence, plan, approvals, stages, and a way back at each step."""
