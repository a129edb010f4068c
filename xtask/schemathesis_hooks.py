"""What `ignored_auth` takes for a refusal: beyond so many wrong keys of one address the daemon says 429 in the place of 401, before it looks
anything up. A request that is let in is found as before."""

from schemathesis.specs.openapi import checks

checks.AUTH_REJECTION_STATUSES = (*checks.AUTH_REJECTION_STATUSES, 429)
