-- Records whose bodies were sealed into files.
CREATE INDEX ledger_sealed ON ledger (project, idx) WHERE substr(body, 1, 1) = X'00'
