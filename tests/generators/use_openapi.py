"""Uses the classes that quicktype made of the schemas of /openapi.json. check.mjs runs this with them as `openapi_quicktype`."""

import openapi_quicktype as made

FRAME = {"type": "subscribed", "sub": "s1", "channel": "order-status", "position": "k3:42", "recovered": True}
frame = made.SubscribedFrame.from_dict(FRAME)
assert (frame.channel, frame.recovered) == ("order-status", True), frame
assert frame.to_dict() == FRAME

DATA = {"orderId": "o-1", "newStatus": "shipped"}
order = made.OrderStatusChange.from_dict(DATA)
assert order.new_status is made.OrderStatus.SHIPPED and order.to_dict() == DATA, order

problem = made.Problem.from_dict(
    {"type": "urn:tidings:problem:not-found", "title": "Not found", "status": 404, "code": "not-found", "detail": "nothing"}
)
assert problem.code is made.DaemonErrorCode.NOT_FOUND, problem

for wrong in ({**FRAME, "position": 5}, {"type": "subscribed"}):
    try:
        made.SubscribedFrame.from_dict(wrong)
    except (AssertionError, KeyError, TypeError):
        continue
    raise AssertionError(f"{wrong} was accepted")
