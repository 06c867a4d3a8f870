-- Few operations wait for their grace, and pages ask for them often.
CREATE INDEX operations_waiting ON operations (box_name, id) WHERE state = 'waiting';
