CREATE TABLE services (
    id INTEGER NOT NULL AUTO_INCREMENT,
    uuid VARCHAR(36) NOT NULL,
    host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    `binary` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    topic VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    zone VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    incarnation INTEGER NOT NULL DEFAULT 1,
    report_count INTEGER NOT NULL DEFAULT 0,
    disabled BOOL NOT NULL DEFAULT false,
    disabled_reason VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    forced_down BOOL NOT NULL DEFAULT false,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6),
    last_seen_up DATETIME(6),
    registered_at DATETIME(6) NOT NULL,
    left_at DATETIME(6),
    departure VARCHAR(16),
    detail VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    absent_since DATETIME(6),
    deleted INTEGER NOT NULL DEFAULT 0,
    deleted_at DATETIME(6),
    PRIMARY KEY (id),
    CONSTRAINT uniq_services0host0topic0deleted UNIQUE (host, topic, deleted),
    CONSTRAINT uniq_services0host0binary0deleted UNIQUE (host, `binary`, deleted)
)ENGINE=InnoDB CHARSET=utf8mb4;
CREATE UNIQUE INDEX services_uuid_idx ON services (uuid);
CREATE INDEX services_version_idx ON services (deleted, `binary`, forced_down, version);
CREATE TABLE listening (
    id INTEGER NOT NULL,
    marked_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TABLE listening_gaps (
    id INTEGER NOT NULL AUTO_INCREMENT,
    start_at DATETIME(6) NOT NULL,
    end_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TABLE outbox (
    id INTEGER NOT NULL AUTO_INCREMENT,
    driver VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    topic VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    incarnation INTEGER NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;
