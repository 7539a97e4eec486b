// The whole portable SDK in one import.
export module axvcpu;
export import axvcpu.result;
export import axvcpu.hal;
export import axvcpu.exit;
export import axvcpu.reg;
export import axvcpu.mailbox;
export import axvcpu.interrupt;
export import axvcpu.stage2;
export import axvcpu.vm;
export import axvcpu.percpu;
export import axvcpu.vcpu;
