-- On PostgreSQL this migration bounds the renewals of one transaction and makes triggers fire under replication. A SQLite file has
-- no replication. The program bounds the renewals of its own transactions when it reads them (store/sqlite/changes.rs): a trigger
-- cannot tell the rows of its transaction from those that another program left behind.

SELECT 1;
