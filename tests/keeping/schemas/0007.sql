BEGIN TRANSACTION;
CREATE TABLE Artifact (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	type_id BIGINT NOT NULL, 
	uri TEXT, 
	state INTEGER, 
	name VARCHAR(512), 
	external_id VARCHAR(512), 
	create_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	last_update_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT "UniqueArtifactTypeName" UNIQUE (type_id, name), 
	FOREIGN KEY(type_id) REFERENCES Type (id), 
	UNIQUE (external_id)
);
INSERT INTO "Artifact" VALUES(1001,1001,'uri 1',1,'name 1','external_id 1',1,1);
INSERT INTO "Artifact" VALUES(1002,1002,'uri 2',2,'name 2','external_id 2',2,2);
INSERT INTO "Artifact" VALUES(1003,1003,NULL,NULL,NULL,NULL,3,3);
CREATE TABLE ArtifactProperty (
	artifact_id BIGINT NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	is_custom_property BOOLEAN NOT NULL, 
	int_value BIGINT, 
	double_value DOUBLE, 
	string_value TEXT, 
	byte_value BLOB, 
	proto_value BLOB, 
	bool_value BOOLEAN, 
	PRIMARY KEY (artifact_id, name, is_custom_property), 
	FOREIGN KEY(artifact_id) REFERENCES Artifact (id)
);
INSERT INTO "ArtifactProperty" VALUES(1001,'name 1',0,1,3.33333333333333314829e-01,'string_value 1',X'00FF01',X'00FF01',0);
INSERT INTO "ArtifactProperty" VALUES(1002,'name 2',1,2,6.66666666666666629659e-01,'string_value 2',X'00FF02',X'00FF02',1);
INSERT INTO "ArtifactProperty" VALUES(1003,'name 3',0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE Association (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	context_id BIGINT NOT NULL, 
	execution_id BIGINT NOT NULL, 
	CONSTRAINT "UniqueAssociation" UNIQUE (context_id, execution_id), 
	FOREIGN KEY(context_id) REFERENCES Context (id), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "Association" VALUES(1001,1001,1001);
INSERT INTO "Association" VALUES(1002,1002,1002);
INSERT INTO "Association" VALUES(1003,1003,1003);
CREATE TABLE Attribution (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	context_id BIGINT NOT NULL, 
	artifact_id BIGINT NOT NULL, 
	CONSTRAINT "UniqueAttribution" UNIQUE (context_id, artifact_id), 
	FOREIGN KEY(context_id) REFERENCES Context (id), 
	FOREIGN KEY(artifact_id) REFERENCES Artifact (id)
);
INSERT INTO "Attribution" VALUES(1001,1001,1001);
INSERT INTO "Attribution" VALUES(1002,1002,1002);
INSERT INTO "Attribution" VALUES(1003,1003,1003);
CREATE TABLE Context (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	type_id BIGINT NOT NULL, 
	name VARCHAR(512) NOT NULL, 
	external_id VARCHAR(512), 
	create_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	last_update_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT "UniqueContextTypeName" UNIQUE (type_id, name), 
	FOREIGN KEY(type_id) REFERENCES Type (id), 
	UNIQUE (external_id)
);
INSERT INTO "Context" VALUES(1001,1001,'name 1','external_id 1',1,1);
INSERT INTO "Context" VALUES(1002,1002,'name 2','external_id 2',2,2);
INSERT INTO "Context" VALUES(1003,1003,'name 3',NULL,3,3);
CREATE TABLE ContextProperty (
	context_id BIGINT NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	is_custom_property BOOLEAN NOT NULL, 
	int_value BIGINT, 
	double_value DOUBLE, 
	string_value TEXT, 
	byte_value BLOB, 
	proto_value BLOB, 
	bool_value BOOLEAN, 
	PRIMARY KEY (context_id, name, is_custom_property), 
	FOREIGN KEY(context_id) REFERENCES Context (id)
);
INSERT INTO "ContextProperty" VALUES(1001,'name 1',0,1,3.33333333333333314829e-01,'string_value 1',X'00FF01',X'00FF01',0);
INSERT INTO "ContextProperty" VALUES(1002,'name 2',1,2,6.66666666666666629659e-01,'string_value 2',X'00FF02',X'00FF02',1);
INSERT INTO "ContextProperty" VALUES(1003,'name 3',0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE Event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	artifact_id BIGINT NOT NULL, 
	execution_id BIGINT NOT NULL, 
	type INTEGER NOT NULL, 
	milliseconds_since_epoch BIGINT, 
	CONSTRAINT "UniqueEvent" UNIQUE (artifact_id, execution_id, type), 
	FOREIGN KEY(artifact_id) REFERENCES Artifact (id), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "Event" VALUES(1001,1001,1001,1,1);
INSERT INTO "Event" VALUES(1002,1002,1002,2,2);
INSERT INTO "Event" VALUES(1003,1003,1003,3,NULL);
CREATE TABLE EventPath (
	event_id BIGINT NOT NULL, 
	is_index_step BOOLEAN NOT NULL, 
	step_index BIGINT, 
	step_key TEXT, 
	FOREIGN KEY(event_id) REFERENCES Event (id)
);
INSERT INTO "EventPath" VALUES(1001,0,1,'step_key 1');
INSERT INTO "EventPath" VALUES(1002,1,2,'step_key 2');
INSERT INTO "EventPath" VALUES(1003,0,NULL,NULL);
CREATE TABLE Execution (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	type_id BIGINT NOT NULL, 
	last_known_state INTEGER, 
	name VARCHAR(512), 
	external_id VARCHAR(512), 
	create_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	last_update_time_since_epoch BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT "UniqueExecutionTypeName" UNIQUE (type_id, name), 
	FOREIGN KEY(type_id) REFERENCES Type (id), 
	UNIQUE (external_id)
);
INSERT INTO "Execution" VALUES(1001,1001,1,'name 1','external_id 1',1,1);
INSERT INTO "Execution" VALUES(1002,1002,2,'name 2','external_id 2',2,2);
INSERT INTO "Execution" VALUES(1003,1003,NULL,NULL,NULL,3,3);
CREATE TABLE ExecutionProperty (
	execution_id BIGINT NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	is_custom_property BOOLEAN NOT NULL, 
	int_value BIGINT, 
	double_value DOUBLE, 
	string_value TEXT, 
	byte_value BLOB, 
	proto_value BLOB, 
	bool_value BOOLEAN, 
	PRIMARY KEY (execution_id, name, is_custom_property), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "ExecutionProperty" VALUES(1001,'name 1',0,1,3.33333333333333314829e-01,'string_value 1',X'00FF01',X'00FF01',0);
INSERT INTO "ExecutionProperty" VALUES(1002,'name 2',1,2,6.66666666666666629659e-01,'string_value 2',X'00FF02',X'00FF02',1);
INSERT INTO "ExecutionProperty" VALUES(1003,'name 3',0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE MLMDEnv (
	schema_version INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT
);
INSERT INTO "MLMDEnv" VALUES(10);
CREATE TABLE ParentContext (
	context_id BIGINT NOT NULL, 
	parent_context_id BIGINT NOT NULL, 
	PRIMARY KEY (context_id, parent_context_id), 
	FOREIGN KEY(context_id) REFERENCES Context (id), 
	FOREIGN KEY(parent_context_id) REFERENCES Context (id)
);
INSERT INTO "ParentContext" VALUES(1001,1001);
INSERT INTO "ParentContext" VALUES(1002,1002);
INSERT INTO "ParentContext" VALUES(1003,1003);
CREATE TABLE ParentType (
	type_id BIGINT NOT NULL, 
	parent_type_id BIGINT NOT NULL, 
	PRIMARY KEY (type_id, parent_type_id), 
	FOREIGN KEY(type_id) REFERENCES Type (id), 
	FOREIGN KEY(parent_type_id) REFERENCES Type (id)
);
INSERT INTO "ParentType" VALUES(1001,1001);
INSERT INTO "ParentType" VALUES(1002,1002);
INSERT INTO "ParentType" VALUES(1003,1003);
CREATE TABLE Type (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR(255) NOT NULL, 
	version VARCHAR(255), 
	type_kind SMALLINT NOT NULL, 
	description TEXT, 
	input_type TEXT, 
	output_type TEXT, 
	external_id VARCHAR(255), 
	UNIQUE (external_id)
);
INSERT INTO "Type" VALUES(1,'mlmd.Dataset',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(2,'mlmd.Model',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(3,'mlmd.Metrics',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(4,'mlmd.Statistics',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(5,'mlmd.Train',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(6,'mlmd.Transform',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(7,'mlmd.Process',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(8,'mlmd.Evaluate',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(9,'mlmd.Deploy',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(10,'lakecat.Ingest',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(11,'lakecat.Transform',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(12,'lakecat.Maintenance',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(13,'lakecat.External',NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(14,'lakecat.Dataset',NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(15,'lakecat.Job',NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(16,'lakecat.Project',NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(17,'lakecat.TableVersion',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(18,'lakecat.Schema',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(19,'lakecat.Source',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(20,'lakecat.Script',NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "Type" VALUES(1001,'name 1','version 1',1,'description 1','input_type 1','output_type 1','external_id 1');
INSERT INTO "Type" VALUES(1002,'name 2','version 2',2,'description 2','input_type 2','output_type 2','external_id 2');
INSERT INTO "Type" VALUES(1003,'name 3',NULL,3,NULL,NULL,NULL,NULL);
CREATE TABLE TypeProperty (
	type_id BIGINT NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	data_type INTEGER, 
	PRIMARY KEY (type_id, name), 
	FOREIGN KEY(type_id) REFERENCES Type (id)
);
INSERT INTO "TypeProperty" VALUES(10,'uuid',3);
INSERT INTO "TypeProperty" VALUES(10,'job',3);
INSERT INTO "TypeProperty" VALUES(10,'run_key',3);
INSERT INTO "TypeProperty" VALUES(10,'host',3);
INSERT INTO "TypeProperty" VALUES(10,'pid',1);
INSERT INTO "TypeProperty" VALUES(10,'user',3);
INSERT INTO "TypeProperty" VALUES(10,'command',3);
INSERT INTO "TypeProperty" VALUES(10,'git_commit',3);
INSERT INTO "TypeProperty" VALUES(10,'error',3);
INSERT INTO "TypeProperty" VALUES(11,'uuid',3);
INSERT INTO "TypeProperty" VALUES(11,'job',3);
INSERT INTO "TypeProperty" VALUES(11,'run_key',3);
INSERT INTO "TypeProperty" VALUES(11,'host',3);
INSERT INTO "TypeProperty" VALUES(11,'pid',1);
INSERT INTO "TypeProperty" VALUES(11,'user',3);
INSERT INTO "TypeProperty" VALUES(11,'command',3);
INSERT INTO "TypeProperty" VALUES(11,'git_commit',3);
INSERT INTO "TypeProperty" VALUES(11,'error',3);
INSERT INTO "TypeProperty" VALUES(12,'uuid',3);
INSERT INTO "TypeProperty" VALUES(12,'job',3);
INSERT INTO "TypeProperty" VALUES(12,'run_key',3);
INSERT INTO "TypeProperty" VALUES(12,'host',3);
INSERT INTO "TypeProperty" VALUES(12,'pid',1);
INSERT INTO "TypeProperty" VALUES(12,'user',3);
INSERT INTO "TypeProperty" VALUES(12,'command',3);
INSERT INTO "TypeProperty" VALUES(12,'git_commit',3);
INSERT INTO "TypeProperty" VALUES(12,'error',3);
INSERT INTO "TypeProperty" VALUES(13,'uuid',3);
INSERT INTO "TypeProperty" VALUES(13,'job',3);
INSERT INTO "TypeProperty" VALUES(13,'run_key',3);
INSERT INTO "TypeProperty" VALUES(13,'host',3);
INSERT INTO "TypeProperty" VALUES(13,'pid',1);
INSERT INTO "TypeProperty" VALUES(13,'user',3);
INSERT INTO "TypeProperty" VALUES(13,'command',3);
INSERT INTO "TypeProperty" VALUES(13,'git_commit',3);
INSERT INTO "TypeProperty" VALUES(13,'error',3);
INSERT INTO "TypeProperty" VALUES(17,'dataset',3);
INSERT INTO "TypeProperty" VALUES(17,'version',1);
INSERT INTO "TypeProperty" VALUES(17,'snapshot_id',1);
INSERT INTO "TypeProperty" VALUES(17,'operation',3);
INSERT INTO "TypeProperty" VALUES(17,'rows',1);
INSERT INTO "TypeProperty" VALUES(17,'added_rows',1);
INSERT INTO "TypeProperty" VALUES(17,'removed_rows',1);
INSERT INTO "TypeProperty" VALUES(17,'files',1);
INSERT INTO "TypeProperty" VALUES(17,'bytes',1);
INSERT INTO "TypeProperty" VALUES(17,'schema',3);
INSERT INTO "TypeProperty" VALUES(18,'columns',3);
INSERT INTO "TypeProperty" VALUES(19,'rows',1);
INSERT INTO "TypeProperty" VALUES(19,'bytes',1);
INSERT INTO "TypeProperty" VALUES(20,'sha256',3);
INSERT INTO "TypeProperty" VALUES(20,'text',3);
INSERT INTO "TypeProperty" VALUES(20,'dialect',3);
INSERT INTO "TypeProperty" VALUES(1001,'name 1',1);
INSERT INTO "TypeProperty" VALUES(1002,'name 2',2);
INSERT INTO "TypeProperty" VALUES(1003,'name 3',NULL);
CREATE TABLE iceberg_namespace_properties (
	catalog_name VARCHAR(255) NOT NULL, 
	namespace VARCHAR(255) NOT NULL, 
	property_key VARCHAR(255) NOT NULL, 
	property_value TEXT NOT NULL, 
	PRIMARY KEY (catalog_name, namespace, property_key)
);
INSERT INTO "iceberg_namespace_properties" VALUES('catalog_name 1','namespace 1','property_key 1','property_value 1');
INSERT INTO "iceberg_namespace_properties" VALUES('catalog_name 2','namespace 2','property_key 2','property_value 2');
INSERT INTO "iceberg_namespace_properties" VALUES('catalog_name 3','namespace 3','property_key 3','property_value 3');
CREATE TABLE iceberg_tables (
	catalog_name VARCHAR(255) NOT NULL, 
	table_namespace VARCHAR(255) NOT NULL, 
	table_name VARCHAR(255) NOT NULL, 
	metadata_location TEXT, 
	previous_metadata_location TEXT, 
	iceberg_type VARCHAR(5), 
	PRIMARY KEY (catalog_name, table_namespace, table_name)
);
INSERT INTO "iceberg_tables" VALUES('catalog_name 1','table_namespace 1','table_name 1','metadata_location 1','previous_metadata_location 1','icebe');
INSERT INTO "iceberg_tables" VALUES('catalog_name 2','table_namespace 2','table_name 2','metadata_location 2','previous_metadata_location 2','icebe');
INSERT INTO "iceberg_tables" VALUES('catalog_name 3','table_namespace 3','table_name 3',NULL,NULL,NULL);
CREATE TABLE lakecat_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT lakecat_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "lakecat_alembic_version" VALUES('0007');
CREATE TABLE lakecat_annotation (
	dataset_id BIGINT NOT NULL, 
	field_id INTEGER NOT NULL, 
	description TEXT, 
	fresh_within_ms BIGINT, 
	changed_ms BIGINT NOT NULL, 
	changed_by TEXT NOT NULL, 
	PRIMARY KEY (dataset_id, field_id), 
	FOREIGN KEY(dataset_id) REFERENCES Context (id)
);
INSERT INTO "lakecat_annotation" VALUES(1001,1,'description 1',1,1,'changed_by 1');
INSERT INTO "lakecat_annotation" VALUES(1002,2,'description 2',2,2,'changed_by 2');
INSERT INTO "lakecat_annotation" VALUES(1003,3,NULL,NULL,3,'changed_by 3');
CREATE TABLE lakecat_annotation_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	dataset_id BIGINT NOT NULL, 
	field_id INTEGER NOT NULL, 
	column_name TEXT, 
	aspect VARCHAR(16) NOT NULL, 
	old_value TEXT, 
	new_value TEXT, 
	changed_ms BIGINT NOT NULL, 
	changed_by TEXT NOT NULL, 
	FOREIGN KEY(dataset_id) REFERENCES Context (id)
);
INSERT INTO "lakecat_annotation_change" VALUES(1001,1001,1,'column_name 1','aspect 1','old_value 1','new_value 1',1,'changed_by 1');
INSERT INTO "lakecat_annotation_change" VALUES(1002,1002,2,'column_name 2','aspect 2','old_value 2','new_value 2',2,'changed_by 2');
INSERT INTO "lakecat_annotation_change" VALUES(1003,1003,3,NULL,'aspect 3',NULL,NULL,3,'changed_by 3');
CREATE TABLE lakecat_column_edge (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	execution_id BIGINT NOT NULL, 
	output_artifact_id BIGINT, 
	output_dataset VARCHAR(512) NOT NULL, 
	output_column TEXT, 
	input_dataset TEXT, 
	input_hash VARCHAR(64), 
	input_column TEXT, 
	kind VARCHAR(32) NOT NULL, 
	expression TEXT, 
	line INTEGER, 
	masked BOOLEAN NOT NULL, 
	FOREIGN KEY(execution_id) REFERENCES Execution (id), 
	FOREIGN KEY(output_artifact_id) REFERENCES Artifact (id)
);
INSERT INTO "lakecat_column_edge" VALUES(1001,1001,1001,'output_dataset 1','output_column 1','input_dataset 1','input_hash 1','input_column 1','kind 1','expression 1',1,0);
INSERT INTO "lakecat_column_edge" VALUES(1002,1002,1002,'output_dataset 2','output_column 2','input_dataset 2','input_hash 2','input_column 2','kind 2','expression 2',2,1);
INSERT INTO "lakecat_column_edge" VALUES(1003,1003,1003,'output_dataset 3',NULL,NULL,NULL,NULL,'kind 3',NULL,NULL,0);
CREATE TABLE lakecat_dataset_edge (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	execution_id BIGINT NOT NULL, 
	input_artifact_id BIGINT NOT NULL, 
	output_artifact_id BIGINT, 
	FOREIGN KEY(execution_id) REFERENCES Execution (id), 
	FOREIGN KEY(input_artifact_id) REFERENCES Artifact (id), 
	FOREIGN KEY(output_artifact_id) REFERENCES Artifact (id)
);
INSERT INTO "lakecat_dataset_edge" VALUES(1001,1001,1001,1001);
INSERT INTO "lakecat_dataset_edge" VALUES(1002,1002,1002,1002);
INSERT INTO "lakecat_dataset_edge" VALUES(1003,1003,1003,1003);
CREATE TABLE lakecat_execution (
	execution_id BIGINT NOT NULL, 
	uuid VARCHAR(36) NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	job VARCHAR(512) NOT NULL, 
	run_key VARCHAR(255), 
	complete_run_key VARCHAR(255), 
	lease_resource VARCHAR(512) NOT NULL, 
	fence BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	started_ms BIGINT NOT NULL, 
	finished_ms BIGINT, 
	error TEXT, 
	PRIMARY KEY (execution_id), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id), 
	UNIQUE (uuid), 
	UNIQUE (complete_run_key)
);
INSERT INTO "lakecat_execution" VALUES(1001,'uuid 1','type 1','job 1','run_key 1','complete_run_key 1','lease_resource 1',1,1,'state 1',1,1,'error 1');
INSERT INTO "lakecat_execution" VALUES(1002,'uuid 2','type 2','job 2','run_key 2','complete_run_key 2','lease_resource 2',2,2,'state 2',2,2,'error 2');
INSERT INTO "lakecat_execution" VALUES(1003,'uuid 3','type 3','job 3',NULL,NULL,'lease_resource 3',3,3,'state 3',3,NULL,NULL);
CREATE TABLE lakecat_file (
	stream VARCHAR(512) NOT NULL, 
	uri_hash VARCHAR(64) NOT NULL, 
	identity_hash VARCHAR(64) NOT NULL, 
	uri TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	etag TEXT, 
	mtime_us BIGINT, 
	loaded_rows BIGINT NOT NULL, 
	sha256 VARCHAR(64), 
	execution_id BIGINT NOT NULL, 
	PRIMARY KEY (stream, uri_hash, identity_hash), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "lakecat_file" VALUES('stream 1','uri_hash 1','identity_hash 1','uri 1',1,'etag 1',1,1,'sha256 1',1001);
INSERT INTO "lakecat_file" VALUES('stream 2','uri_hash 2','identity_hash 2','uri 2',2,'etag 2',2,2,'sha256 2',1002);
INSERT INTO "lakecat_file" VALUES('stream 3','uri_hash 3','identity_hash 3','uri 3',3,NULL,NULL,3,NULL,1003);
CREATE TABLE lakecat_import (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	origin VARCHAR(512) NOT NULL, 
	first_ms BIGINT NOT NULL, 
	last_ms BIGINT NOT NULL, 
	UNIQUE (origin)
);
INSERT INTO "lakecat_import" VALUES(1001,'origin 1',1,1);
INSERT INTO "lakecat_import" VALUES(1002,'origin 2',2,2);
INSERT INTO "lakecat_import" VALUES(1003,'origin 3',3,3);
CREATE TABLE lakecat_import_node (
	import_id BIGINT NOT NULL, 
	kind SMALLINT NOT NULL, 
	source_id BIGINT NOT NULL, 
	target_id BIGINT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (import_id, kind, source_id), 
	FOREIGN KEY(import_id) REFERENCES lakecat_import (id)
);
INSERT INTO "lakecat_import_node" VALUES(1001,1,1,1,1);
INSERT INTO "lakecat_import_node" VALUES(1002,2,2,2,2);
INSERT INTO "lakecat_import_node" VALUES(1003,3,3,3,3);
CREATE TABLE lakecat_intent (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	execution_id BIGINT NOT NULL, 
	prefix TEXT NOT NULL, 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "lakecat_intent" VALUES(1001,1001,'prefix 1');
INSERT INTO "lakecat_intent" VALUES(1002,1002,'prefix 2');
INSERT INTO "lakecat_intent" VALUES(1003,1003,'prefix 3');
CREATE TABLE lakecat_lease (
	resource VARCHAR(512) NOT NULL, 
	fence BIGINT NOT NULL, 
	held BOOLEAN NOT NULL, 
	host TEXT NOT NULL, 
	pid BIGINT NOT NULL, 
	user_name TEXT NOT NULL, 
	command TEXT NOT NULL, 
	acquired_ms BIGINT NOT NULL, 
	heartbeat_ms BIGINT NOT NULL, 
	expires_ms BIGINT NOT NULL, 
	PRIMARY KEY (resource)
);
INSERT INTO "lakecat_lease" VALUES('resource 1',1,0,'host 1',1,'user_name 1','command 1',1,1,1);
INSERT INTO "lakecat_lease" VALUES('resource 2',2,1,'host 2',2,'user_name 2','command 2',2,2,2);
INSERT INTO "lakecat_lease" VALUES('resource 3',3,0,'host 3',3,'user_name 3','command 3',3,3,3);
CREATE TABLE lakecat_mark (
	dataset_id BIGINT NOT NULL, 
	field_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	PRIMARY KEY (dataset_id, field_id, kind, value), 
	FOREIGN KEY(dataset_id) REFERENCES Context (id)
);
INSERT INTO "lakecat_mark" VALUES(1001,1,'kind 1','value 1');
INSERT INTO "lakecat_mark" VALUES(1002,2,'kind 2','value 2');
INSERT INTO "lakecat_mark" VALUES(1003,3,'kind 3','value 3');
CREATE TABLE lakecat_position (
	stream VARCHAR(512) NOT NULL, 
	value TEXT NOT NULL, 
	execution_id BIGINT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (stream), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "lakecat_position" VALUES('stream 1','value 1',1001,1);
INSERT INTO "lakecat_position" VALUES('stream 2','value 2',1002,2);
INSERT INTO "lakecat_position" VALUES('stream 3','value 3',1003,3);
CREATE TABLE lakecat_schema (
	fingerprint VARCHAR(64) NOT NULL, 
	artifact_id BIGINT NOT NULL, 
	PRIMARY KEY (fingerprint), 
	FOREIGN KEY(artifact_id) REFERENCES Artifact (id)
);
INSERT INTO "lakecat_schema" VALUES('fingerprint 1',1001);
INSERT INTO "lakecat_schema" VALUES('fingerprint 2',1002);
INSERT INTO "lakecat_schema" VALUES('fingerprint 3',1003);
CREATE TABLE lakecat_schema_column (
	fingerprint VARCHAR(64) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	type TEXT NOT NULL, 
	field_id INTEGER NOT NULL, 
	required BOOLEAN NOT NULL, 
	doc TEXT, 
	PRIMARY KEY (fingerprint, ordinal), 
	FOREIGN KEY(fingerprint) REFERENCES lakecat_schema (fingerprint)
);
INSERT INTO "lakecat_schema_column" VALUES('fingerprint 1',1,'name 1','type 1',1,0,'doc 1');
INSERT INTO "lakecat_schema_column" VALUES('fingerprint 2',2,'name 2','type 2',2,1,'doc 2');
INSERT INTO "lakecat_schema_column" VALUES('fingerprint 3',3,'name 3','type 3',3,0,NULL);
CREATE TABLE lakecat_search (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind VARCHAR(16) NOT NULL, 
	key_hash VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	folded VARCHAR(512) NOT NULL, 
	leaf VARCHAR(512) NOT NULL, 
	words TEXT NOT NULL, 
	said TEXT NOT NULL, 
	dataset_id BIGINT, 
	field_id INTEGER, 
	UNIQUE (key_hash), 
	FOREIGN KEY(dataset_id) REFERENCES Context (id)
);
CREATE TABLE lakecat_setting (
	name VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "lakecat_setting" VALUES('catalog_uuid','11111111-1111-1111-1111-111111111111');
INSERT INTO "lakecat_setting" VALUES('min_writer_version','1');
INSERT INTO "lakecat_setting" VALUES('high_water_mark','0');
CREATE TABLE lakecat_tag (
	dataset_id BIGINT NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	version BIGINT NOT NULL, 
	changed_ms BIGINT NOT NULL, 
	changed_by TEXT NOT NULL, 
	PRIMARY KEY (dataset_id, name), 
	FOREIGN KEY(dataset_id, version) REFERENCES lakecat_version (dataset_id, version), 
	FOREIGN KEY(dataset_id) REFERENCES Context (id)
);
INSERT INTO "lakecat_tag" VALUES(1001,'name 1',1,1,'changed_by 1');
INSERT INTO "lakecat_tag" VALUES(1002,'name 2',2,2,'changed_by 2');
INSERT INTO "lakecat_tag" VALUES(1003,'name 3',3,3,'changed_by 3');
CREATE TABLE lakecat_tag_change (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	dataset_id BIGINT NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	old_version BIGINT, 
	new_version BIGINT, 
	changed_ms BIGINT NOT NULL, 
	changed_by TEXT NOT NULL, 
	execution_id BIGINT NOT NULL, 
	newest_version BIGINT NOT NULL, 
	metadata_location TEXT NOT NULL, 
	FOREIGN KEY(dataset_id) REFERENCES Context (id), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id)
);
INSERT INTO "lakecat_tag_change" VALUES(1001,1001,'name 1',1,1,1,'changed_by 1',1001,1,'metadata_location 1');
INSERT INTO "lakecat_tag_change" VALUES(1002,1002,'name 2',2,2,2,'changed_by 2',1002,2,'metadata_location 2');
INSERT INTO "lakecat_tag_change" VALUES(1003,1003,'name 3',NULL,NULL,3,'changed_by 3',1003,3,'metadata_location 3');
CREATE TABLE lakecat_version (
	dataset_id BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	snapshot_id BIGINT NOT NULL, 
	artifact_id BIGINT NOT NULL, 
	execution_id BIGINT NOT NULL, 
	metadata_location TEXT NOT NULL, 
	committed_ms BIGINT NOT NULL, 
	operation VARCHAR(32) NOT NULL, 
	whole BOOLEAN NOT NULL, 
	total_rows BIGINT NOT NULL, 
	added_rows BIGINT NOT NULL, 
	removed_rows BIGINT NOT NULL, 
	total_files BIGINT NOT NULL, 
	total_bytes BIGINT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	expired BOOLEAN NOT NULL, expired_ms BIGINT, collected_ms BIGINT, 
	PRIMARY KEY (dataset_id, version), 
	FOREIGN KEY(dataset_id) REFERENCES Context (id), 
	UNIQUE (artifact_id), 
	FOREIGN KEY(artifact_id) REFERENCES Artifact (id), 
	FOREIGN KEY(execution_id) REFERENCES Execution (id), 
	FOREIGN KEY(fingerprint) REFERENCES lakecat_schema (fingerprint)
);
INSERT INTO "lakecat_version" VALUES(1001,1,1,1001,1001,'metadata_location 1',1,'operation 1',0,1,1,1,1,1,'fingerprint 1',0,1,1);
INSERT INTO "lakecat_version" VALUES(1002,2,2,1002,1002,'metadata_location 2',2,'operation 2',1,2,2,2,2,2,'fingerprint 2',1,2,2);
INSERT INTO "lakecat_version" VALUES(1003,3,3,1003,1003,'metadata_location 3',3,'operation 3',0,3,3,3,3,3,'fingerprint 3',0,NULL,NULL);
CREATE INDEX idx_type_name ON Type (name);
CREATE INDEX idx_artifact_last_update_time_since_epoch ON Artifact (last_update_time_since_epoch);
CREATE INDEX idx_artifact_uri ON Artifact (uri);
CREATE INDEX idx_artifact_create_time_since_epoch ON Artifact (create_time_since_epoch);
CREATE INDEX idx_execution_last_update_time_since_epoch ON Execution (last_update_time_since_epoch);
CREATE INDEX idx_execution_create_time_since_epoch ON Execution (create_time_since_epoch);
CREATE INDEX idx_context_last_update_time_since_epoch ON Context (last_update_time_since_epoch);
CREATE INDEX idx_context_create_time_since_epoch ON Context (create_time_since_epoch);
CREATE INDEX idx_artifact_property_double ON ArtifactProperty (name, is_custom_property, double_value) WHERE double_value IS NOT NULL;
CREATE INDEX idx_artifact_property_string ON ArtifactProperty (name, is_custom_property, string_value) WHERE string_value IS NOT NULL;
CREATE INDEX idx_artifact_property_int ON ArtifactProperty (name, is_custom_property, int_value) WHERE int_value IS NOT NULL;
CREATE INDEX idx_execution_property_int ON ExecutionProperty (name, is_custom_property, int_value) WHERE int_value IS NOT NULL;
CREATE INDEX idx_execution_property_double ON ExecutionProperty (name, is_custom_property, double_value) WHERE double_value IS NOT NULL;
CREATE INDEX idx_execution_property_string ON ExecutionProperty (name, is_custom_property, string_value) WHERE string_value IS NOT NULL;
CREATE INDEX idx_context_property_double ON ContextProperty (name, is_custom_property, double_value) WHERE double_value IS NOT NULL;
CREATE INDEX idx_context_property_string ON ContextProperty (name, is_custom_property, string_value) WHERE string_value IS NOT NULL;
CREATE INDEX idx_context_property_int ON ContextProperty (name, is_custom_property, int_value) WHERE int_value IS NOT NULL;
CREATE INDEX idx_parentcontext_parent_context_id ON ParentContext (parent_context_id);
CREATE INDEX idx_association_execution_id ON Association (execution_id);
CREATE INDEX idx_attribution_artifact_id ON Attribution (artifact_id);
CREATE INDEX idx_lakecat_execution_job ON lakecat_execution (job, execution_id);
CREATE INDEX idx_lakecat_execution_state ON lakecat_execution (state, execution_id);
CREATE INDEX idx_lakecat_execution_lease ON lakecat_execution (lease_resource, state);
CREATE INDEX ix_lakecat_intent_execution_id ON lakecat_intent (execution_id);
CREATE INDEX idx_lakecat_file_uri ON lakecat_file (uri_hash);
CREATE INDEX ix_lakecat_file_execution_id ON lakecat_file (execution_id);
CREATE INDEX ix_lakecat_column_edge_execution_id ON lakecat_column_edge (execution_id);
CREATE INDEX ix_lakecat_column_edge_output_artifact_id ON lakecat_column_edge (output_artifact_id);
CREATE INDEX ix_lakecat_column_edge_input_hash ON lakecat_column_edge (input_hash);
CREATE INDEX idx_eventpath_event_id ON EventPath (event_id);
CREATE INDEX ix_lakecat_version_execution_id ON lakecat_version (execution_id);
CREATE INDEX idx_lakecat_version_snapshot ON lakecat_version (dataset_id, snapshot_id);
CREATE INDEX idx_event_execution ON Event (execution_id, type, artifact_id);
CREATE INDEX idx_lakecat_mark_value ON lakecat_mark (kind, value);
CREATE INDEX ix_lakecat_annotation_change_dataset_id ON lakecat_annotation_change (dataset_id);
CREATE INDEX idx_lakecat_tag_name ON lakecat_tag (name);
CREATE INDEX ix_lakecat_tag_change_dataset_id ON lakecat_tag_change (dataset_id);
CREATE INDEX ix_lakecat_tag_change_execution_id ON lakecat_tag_change (execution_id);
CREATE INDEX idx_lakecat_search_leaf ON lakecat_search (kind, leaf);
CREATE INDEX idx_lakecat_search_folded ON lakecat_search (kind, folded);
CREATE INDEX ix_lakecat_search_dataset_id ON lakecat_search (dataset_id);
CREATE INDEX idx_lakecat_execution_started ON lakecat_execution (started_ms, execution_id);
CREATE INDEX idx_lakecat_execution_state_started ON lakecat_execution (state, started_ms, execution_id);
CREATE INDEX idx_lakecat_execution_type ON lakecat_execution (type, execution_id);
CREATE INDEX idx_lakecat_version_committed ON lakecat_version (committed_ms);
CREATE INDEX idx_lakecat_column_edge_output ON lakecat_column_edge (output_dataset);
CREATE INDEX ix_lakecat_dataset_edge_input_artifact_id ON lakecat_dataset_edge (input_artifact_id);
CREATE INDEX ix_lakecat_dataset_edge_output_artifact_id ON lakecat_dataset_edge (output_artifact_id);
CREATE INDEX idx_lakecat_dataset_edge ON lakecat_dataset_edge (execution_id, input_artifact_id, output_artifact_id);
CREATE INDEX idx_lakecat_execution_run_key ON lakecat_execution (run_key);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('MLMDEnv',10);
INSERT INTO "sqlite_sequence" VALUES('Type',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_import',1003);
INSERT INTO "sqlite_sequence" VALUES('Artifact',1003);
INSERT INTO "sqlite_sequence" VALUES('Context',1003);
INSERT INTO "sqlite_sequence" VALUES('Execution',1003);
INSERT INTO "sqlite_sequence" VALUES('Association',1003);
INSERT INTO "sqlite_sequence" VALUES('Attribution',1003);
INSERT INTO "sqlite_sequence" VALUES('Event',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_annotation_change',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_column_edge',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_dataset_edge',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_intent',1003);
INSERT INTO "sqlite_sequence" VALUES('lakecat_tag_change',1003);
COMMIT;
