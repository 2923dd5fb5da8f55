"""The service as a third party: tickets opened, conditions judged, people asked, discharges minted.

Reading order: `service`, `conditions`, `descriptions`, `secrets`, `waiters`, `protocol`, `pages`, `routes`.
"""
