"""Are channels that share a group by index more alike than chance, and would others be better?"""

from normstats.grouping.audit import Arrangement, Audit, audit
from normstats.grouping.tables import GroupingTables, grouping_tables, orders_by_layer

__all__ = [
    "Arrangement",
    "Audit",
    "GroupingTables",
    "audit",
    "grouping_tables",
    "orders_by_layer",
]
