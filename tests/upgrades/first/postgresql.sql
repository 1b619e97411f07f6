CREATE TABLE services (
    id SERIAL NOT NULL,
    uuid VARCHAR(36) NOT NULL,
    host VARCHAR(255) NOT NULL,
    "binary" VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    zone VARCHAR(255) NOT NULL,
    version INTEGER DEFAULT 0 NOT NULL,
    incarnation INTEGER DEFAULT 1 NOT NULL,
    report_count INTEGER DEFAULT 0 NOT NULL,
    disabled BOOLEAN DEFAULT false NOT NULL,
    disabled_reason VARCHAR(255),
    forced_down BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITHOUT TIME ZONE,
    last_seen_up TIMESTAMP WITHOUT TIME ZONE,
    registered_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    left_at TIMESTAMP WITHOUT TIME ZONE,
    departure VARCHAR(16),
    detail VARCHAR(255),
    absent_since TIMESTAMP WITHOUT TIME ZONE,
    deleted INTEGER DEFAULT 0 NOT NULL,
    deleted_at TIMESTAMP WITHOUT TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT uniq_services0host0topic0deleted UNIQUE (host, topic, deleted),
    CONSTRAINT uniq_services0host0binary0deleted UNIQUE (host, "binary", deleted)
);
CREATE UNIQUE INDEX services_uuid_idx ON services (uuid);
CREATE INDEX services_version_idx ON services (deleted, "binary", forced_down, version);
CREATE TABLE listening (
    id INTEGER NOT NULL,
    marked_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE listening_gaps (
    id SERIAL NOT NULL,
    start_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    end_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE outbox (
    id SERIAL NOT NULL,
    driver VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    incarnation INTEGER NOT NULL,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
ALTER TABLE services SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
