// Installs the clients before their tests, whose time is limited.
import { installClients } from './set-up.ts';

installClients();
