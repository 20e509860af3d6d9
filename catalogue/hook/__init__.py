"""The on-demand service ("Hook"): people order a workflow on products by name, over the OData API that existing clients speak.

An order is a payload by another door. It has one item for each identifier; an item becomes scene, tile and job rows of a hidden AOI of its
own (`order:{order}:{item}`), and the same dispatcher, workers, graphs and storage carry it out. There is no second engine.

`orders` holds the values and the seams: `Order`, `OrderItem`, and the protocols `Secrets` (options nobody may read, sealed at rest),
`Source` (identifier -> scenes) and `Delivery` (files -> the customer), which `parts` opens. What is declared: `workflows`, `options`.
What is asked: `odata`, `requests`. What is answered: `replies`, `views`. What happens: `placing`, `estimates`, `life`, `notifications`.

The life of an item: its row stands, `queued`, when the order is answered (phase RESOLVE). The source finds its scenes; they are ingested
in the transaction that makes it WORK. When all its tiles have ended it is DELIVER, and when the customer has the files, ENDED.
Each phase is claimed under a lease by one of the replicas, can be begun again from its start, and ends in one transaction.
Locks are taken in this order: first those of `catalogue.workflow`, then order, then item.
"""
