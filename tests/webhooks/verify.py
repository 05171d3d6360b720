"""Verifies the requests on stdin with the reference library of PyPI: one JSON object a line, {secret, headers, body}. Prints
`ok` or why not for each."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    request = json.loads(line)
    try:
        Webhook(request["secret"]).verify(request["body"], request["headers"])
        print("ok")
    except WebhookVerificationError as error:
        print(error)
