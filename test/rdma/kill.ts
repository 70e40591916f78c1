import { killRounds } from '../kill/rounds.js';

killRounds('verbs');
