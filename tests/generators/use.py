"""Uses the pydantic models that datamodel-code-generator made. check.mjs runs this with them as the package `models`."""

import pkgutil
from importlib import import_module

from pydantic import ValidationError

import models
from models.event_schema import Event, InventoryChange, OrderStatus, OrderStatusChange, PriceChange

for module in pkgutil.iter_modules(models.__path__):
    import_module(f"models.{module.name}")

VALID = {
    "inventory-change": {"productId": "1", "oldQuantity": 2, "newQuantity": 1, "reason": "sale"},
    "order-status": {"orderId": "1", "oldStatus": "pending", "newStatus": "shipped", "customerId": "2"},
    "cache-invalidate": {"tags": ["product:1"]},
    "data-update": {"resource": "product", "id": "1", "action": "update", "version": 2},
    "finance-change": {"entity": "refund", "id": "1", "amountMinor": 5, "currency": "EUR", "status": "done"},
    "price-change": {"sku": "a", "price": {"amount": 5, "currency": "EUR"}, "parts": []},
}
events = {
    name: Event.model_validate({"type": name, "data": data, "time": "2026-11-28T12:00:00Z", "own": 7}).root
    for name, data in VALID.items()
}
for name, event in events.items():
    assert event.type == name and event.time.year == 2026, event
    assert event.model_dump(mode="json", exclude_none=True)["data"] == VALID[name], event

sale = events["inventory-change"].data
assert isinstance(sale, InventoryChange) and (sale.productId, sale.newQuantity, sale.variantId) == ("1", 1, None)
order = events["order-status"].data
assert isinstance(order, OrderStatusChange) and order.newStatus is OrderStatus.shipped
assert events["finance-change"].data.currency.value == "EUR"
assert isinstance(events["price-change"].data, PriceChange)

for wrong in (
    {"type": "inventory-change", "data": {"productId": "1"}},
    {"type": "order-status", "data": {"orderId": "1", "newStatus": "lost"}},
    {"type": "cache-invalidate", "data": {}},
    {"type": "data-update", "data": VALID["inventory-change"]},
    {"type": "nothing", "data": {}},
):
    try:
        Event.model_validate(wrong)
    except ValidationError:
        continue
    raise AssertionError(f"{wrong} was accepted")
