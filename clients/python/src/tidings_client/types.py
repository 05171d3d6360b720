"""The data of events. Written by `python -m tidings_client.codegen`: do not edit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from tidings_client import EventData
from typing_extensions import TypeAliasType

Tag = TypeAliasType("Tag", Annotated[str, Field(max_length=256, min_length=1)])


Key = TypeAliasType("Key", Annotated[str, Field(max_length=256, min_length=1)])


Prefix = TypeAliasType("Prefix", Annotated[str, Field(max_length=256, min_length=1)])


class CacheInvalidate(EventData, channel="cache-invalidate"):
    """Cache entries are out of date: by tag, by key or by prefix of a key. At least one of the three is given."""

    model_config = ConfigDict(
        extra="forbid",
    )
    tags: list[Tag] | None = None
    """Every entry that has one of these tags."""

    keys: list[Key] | None = None
    """The entries with these keys."""

    prefixes: list[Prefix] | None = None
    """Every entry whose key starts with one of these."""

    reason: Annotated[
        str | None, Field(examples=["price change", "nightly import"], max_length=1024)
    ] = None
    """The reason, for people."""

    staleForMs: Annotated[int | None, Field(ge=0, le=9007199254740991)] = None
    """
    For how many milliseconds a cache may still serve the old value while it loads the new one. Absent or 0: not at all.
    A cache counts from when it receives the event, by its own clock.
    """

    holdMs: Annotated[int | None, Field(ge=0, le=60000)] = None
    """
    For how many milliseconds a cache gives what it loads to its callers without storing it, because the data is still
    about to change. At most 60,000. A cache counts from when it receives the event, by its own clock.
    """


DataAction = TypeAliasType(
    "DataAction",
    Annotated[Literal["create", "update", "delete"], Field(title="DataAction")],
)
"""What happened to a record."""


class InventoryChange(EventData, channel="inventory-change"):
    """The stock of a product, or of one variant of it, changed."""

    model_config = ConfigDict(
        extra="forbid",
    )
    productId: Annotated[str, Field(max_length=256, min_length=1)]
    """The product."""

    variantId: Annotated[str | None, Field(max_length=256, min_length=1)] = None
    """The variant, if stock is kept by variant."""

    oldQuantity: Annotated[int, Field(ge=-9007199254740991, le=9007199254740991)]
    """Pieces before the change."""

    newQuantity: Annotated[int, Field(ge=-9007199254740991, le=9007199254740991)]
    """Pieces after the change."""

    reason: Annotated[
        str,
        Field(examples=["sale", "return", "stock count", "delivery"], max_length=1024),
    ]
    """The reason: a sale, a return, a stock count."""


OrderStatus = TypeAliasType(
    "OrderStatus",
    Annotated[
        Literal["pending", "confirmed", "processing", "shipped", "delivered", "completed", "cancelled", "returned", "refunded"],
        Field(title="OrderStatus"),
    ],
)
"""The status of an order."""


FinanceEntity = TypeAliasType(
    "FinanceEntity",
    Annotated[
        Literal["payment", "refund", "invoice", "payout", "adjustment"],
        Field(title="FinanceEntity"),
    ],
)
"""A kind of financial record."""


Currency = TypeAliasType(
    "Currency",
    Annotated[
        Literal["AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BHD", "BIF", "BMD", "BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CLF", "CLP", "CNY", "COP", "COU", "CRC", "CUC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HRK", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SLL", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "USN", "UYI", "UYU", "UYW", "UZS", "VED", "VES", "VND", "VUV", "WST", "XAD", "XAF", "XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XCD", "XCG", "XDR", "XOF", "XPD", "XPF", "XPT", "XSU", "XTS", "XUA", "XXX", "YER", "ZAR", "ZMW", "ZWG", "ZWL"],
        Field(title="Currency"),
    ],
)
"""An ISO 4217 currency code."""


class DataUpdate(EventData, channel="data-update"):
    """A record of some resource was created, changed or deleted."""

    model_config = ConfigDict(
        extra="forbid",
    )
    resource: Annotated[
        str,
        Field(
            examples=["product", "customer", "article"], max_length=256, min_length=1
        ),
    ]
    """The kind of record: a table, a collection, an entity."""

    id: Annotated[str, Field(max_length=256, min_length=1)]
    """Which record."""

    action: DataAction
    """What happened to the record."""

    version: Annotated[int | None, Field(ge=-9007199254740991, le=9007199254740991)] = (
        None
    )
    """The record's version after the change."""


class OrderStatusChange(EventData, channel="order-status"):
    """An order went from one status to another."""

    model_config = ConfigDict(
        extra="forbid",
    )
    orderId: Annotated[str, Field(max_length=256, min_length=1)]
    """The order."""

    oldStatus: OrderStatus | None = None
    """The status before; absent for a new order."""

    newStatus: OrderStatus
    """The status after."""

    customerId: Annotated[str | None, Field(max_length=256, min_length=1)] = None
    """The customer whose order it is."""


class FinanceChange(EventData, channel="finance-change"):
    """Money moved, or a document about money changed."""

    model_config = ConfigDict(
        extra="forbid",
    )
    entity: FinanceEntity
    """The kind of record that changed."""

    id: Annotated[str, Field(max_length=256, min_length=1)]
    """Which record."""

    amountMinor: Annotated[int, Field(ge=-9007199254740991, le=9007199254740991)]
    """The amount in the currency's minor unit (cents for EUR, yen for JPY)."""

    currency: Currency
    """The currency, as its ISO 4217 code."""

    status: Annotated[
        str | None, Field(examples=["open", "settled", "failed"], max_length=1024)
    ] = None
    """The record's status; each publisher has its own names."""
