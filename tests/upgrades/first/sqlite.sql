CREATE TABLE services (
    id INTEGER NOT NULL,
    uuid VARCHAR(36) NOT NULL,
    host VARCHAR(255) NOT NULL,
    binary VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    zone VARCHAR(255) NOT NULL,
    version INTEGER DEFAULT 0 NOT NULL,
    incarnation INTEGER DEFAULT 1 NOT NULL,
    report_count INTEGER DEFAULT 0 NOT NULL,
    disabled BOOLEAN DEFAULT 0 NOT NULL,
    disabled_reason VARCHAR(255),
    forced_down BOOLEAN DEFAULT 0 NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME,
    last_seen_up DATETIME,
    registered_at DATETIME NOT NULL,
    left_at DATETIME,
    departure VARCHAR(16),
    detail VARCHAR(255),
    absent_since DATETIME,
    deleted INTEGER DEFAULT 0 NOT NULL,
    deleted_at DATETIME,
    PRIMARY KEY (id),
    CONSTRAINT uniq_services0host0topic0deleted UNIQUE (host, topic, deleted),
    CONSTRAINT uniq_services0host0binary0deleted UNIQUE (host, binary, deleted)
);
CREATE UNIQUE INDEX services_uuid_idx ON services (uuid);
CREATE INDEX services_version_idx ON services (deleted, binary, forced_down, version);
CREATE TABLE listening (
    id INTEGER NOT NULL,
    marked_at DATETIME NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE listening_gaps (
    id INTEGER NOT NULL,
    start_at DATETIME NOT NULL,
    end_at DATETIME NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE outbox (
    id INTEGER NOT NULL,
    driver VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    incarnation INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (id)
);
