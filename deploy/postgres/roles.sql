-- Roles of a database of Thresher, each with the rights it needs. Run once by an administrator, connected to that database:
--
--   psql -d thresher -v owner_password=… -v service_password=… -v scaler_password=… -f roles.sql
--
-- thresher_owner    owns the tables: `python -P -m catalogue.migrate`, once for every version
-- thresher_service  the catalogue: reads and writes rows, changes no table
-- thresher_scaler   counts jobs, for a scaler of workers; sees nothing else

CREATE ROLE thresher_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE thresher_service LOGIN PASSWORD :'service_password';
CREATE ROLE thresher_scaler LOGIN PASSWORD :'scaler_password' CONNECTION LIMIT 10;

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO thresher_owner, thresher_service, thresher_scaler', current_database()) \gexec

CREATE SCHEMA thresher AUTHORIZATION thresher_owner;
GRANT USAGE ON SCHEMA thresher TO thresher_service, thresher_scaler;
ALTER ROLE thresher_owner SET search_path = thresher;
ALTER ROLE thresher_service SET search_path = thresher;
ALTER ROLE thresher_scaler SET search_path = thresher;
ALTER ROLE thresher_scaler SET statement_timeout = '10s';

-- What later migrations make is covered too.
ALTER DEFAULT PRIVILEGES FOR ROLE thresher_owner IN SCHEMA thresher GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO thresher_service;
ALTER DEFAULT PRIVILEGES FOR ROLE thresher_owner IN SCHEMA thresher GRANT USAGE ON SEQUENCES TO thresher_service;

-- The backlog of one kind of job that needs one capability, and nothing else of the jobs. It may be asked for before there are tables.
CREATE FUNCTION thresher.backlog(kind text, capability text) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = thresher AS $$
BEGIN
    IF to_regclass('thresher.job') IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM thresher.job AS j
            WHERE j.kind::text = backlog.kind AND j.capability = backlog.capability AND j.state IN ('ready', 'sent')
              AND (j.not_before IS NULL OR j.not_before < now() + interval '30 seconds'));
END $$;
ALTER FUNCTION thresher.backlog OWNER TO thresher_owner;
REVOKE ALL ON FUNCTION thresher.backlog FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thresher.backlog TO thresher_scaler;
